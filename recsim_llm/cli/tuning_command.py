"""The commands that tune a language model and say what it is worth, and what they print."""

from __future__ import annotations

from pathlib import Path

from recsim_llm.experiments.tuning.assessment.assess import AssessConfig, as_json, assess, report
from recsim_llm.experiments.tuning.task import TuneConfig
from recsim_llm.experiments.tuning.tune import Tuned, tune
from recsim_llm.runs.run_files import write_durably

_ROWS = (
    ("log_loss", "log-loss"),
    ("rps", "RPS"),
    ("auc_like", "AUC of liking"),
    ("auc_within", "the same within people"),
)


def run_tune(config: TuneConfig) -> None:
    """Tune; print what came of it, where the model is and what to do next."""
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


def run_assess(folder: Path, config: AssessConfig) -> None:
    """Assess a tuned model; print the tables and where they are."""
    try:
        findings = assess(folder, config)
    except KeyboardInterrupt:
        print("\nInterrupted. Finished groups are kept; go on with the same command.")
        raise
    text = report(findings)
    path = folder / "assessment" / f"report-{config.naming or 'learned'}.md"
    write_durably(path, (text + "\n").encode())
    write_durably(path.with_suffix(".json"), as_json(findings).encode())
    print(text)
    print(f"\nWritten to {path}, all numbers beside it. docs/tuning.md says what they mean.")


def tuned_table(done: Tuned) -> str:
    """What held-out ratings say before and after, and why the tuning ended."""
    lines = [f"{'held-out ratings':<26}{'as it came':>12}{'tuned':>10}"]
    lines += [f" {text:<25}{done.before[name]:>12.4f}{done.after[name]:>10.4f}" for name, text in _ROWS]
    p = done.progress
    lines.append(f"{p.step:,} steps, {p.labels:,} answers, {p.seconds / 60:.0f} minutes; ended because {done.ended}.")
    return "\n".join(lines)
