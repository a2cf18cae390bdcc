"""Tune a local language model on what the people of a data set like; its folder is a model for --llm."""

from __future__ import annotations

from dataclasses import dataclass, field

from tyro.conf import OmitArgPrefixes

from recsim_llm.experiments.tuning.task import TuneConfig
from recsim_llm.experiments.tuning.tune import Tuned, tune

_ROWS = (
    ("log_loss", "log-loss"),
    ("rps", "RPS"),
    ("auc_like", "AUC of liking"),
    ("auc_within", "the same within people"),
)


@dataclass(frozen=True)
class TuneCommand:
    """Options of `recsim-llm tune`."""

    config: OmitArgPrefixes[TuneConfig] = field(default_factory=TuneConfig)


def run(command: TuneCommand) -> None:
    """Tune, and print the result."""
    run_tune(command.config)


def run_tune(config: TuneConfig) -> None:
    """Tune; print the result, where the model is and what to do next."""
    try:
        done = tune(config)
    except KeyboardInterrupt:
        print(f"\nInterrupted. What was learned until the last check is in {config.out}.")
        print("Go on with the same command and --resume.")
        raise
    print(tuned_table(done))
    users = f"--user-model hybrid:{config.users} --llm transformers:{done.folder}"
    print(f"\nThe model and its card are in {done.folder}; with vLLM: --llm vllm:{done.folder}. Next:")
    print(f"  recsim-llm assess {done.folder}")
    print(f"  recsim-llm calibrate --split {config.measured_by} --dataset {config.dataset} {users}")
    print(f"  recsim-llm certify --split {config.measured_by} --dataset {config.dataset} {users}")
    print(f"  recsim-llm simulate --dataset {config.dataset} {users}")


def tuned_table(done: Tuned) -> str:
    """Scores on held-out ratings before and after, and why the tuning ended."""
    lines = [f"{'held-out ratings':<26}{'as it came':>12}{'tuned':>10}"]
    lines += [f" {text:<25}{done.before[name]:>12.4f}{done.after[name]:>10.4f}" for name, text in _ROWS]
    p = done.progress
    lines.append(f"{p.step:,} steps, {p.labels:,} answers, {p.seconds / 60:.0f} minutes; ended because {done.ended}.")
    return "\n".join(lines)
