"""Fit how far a language model's answers can be trusted, on people whom no certificate measures."""

from __future__ import annotations

from dataclasses import dataclass, field

from tyro.conf import OmitArgPrefixes

from recsim_llm.agents.named_users import check_user_model, inner_name
from recsim_llm.experiments.backend import cached_backend
from recsim_llm.experiments.fidelity.calibrate import CalibrateConfig, calibrate
from recsim_llm.experiments.simulation.config import DEFAULT_LLM


@dataclass(frozen=True)
class CalibrateCommand:
    """Options of `recsim-llm calibrate`."""

    config: OmitArgPrefixes[CalibrateConfig] = field(default_factory=CalibrateConfig)


def run(command: CalibrateCommand) -> None:
    """Calibrate a language model for a data set, print the fit and where it is stored."""
    config = command.config
    check_user_model(inner_name(config.user_model))
    try:
        done = calibrate(config, cached_backend(config.llm or DEFAULT_LLM))
    except KeyboardInterrupt:
        print("\nInterrupted. What the language model has answered is kept: the same command goes on from there.")
        raise
    llm = config.llm or DEFAULT_LLM
    print(done.learned.weights.table())
    print(f"\nLearned from {done.pairs:,} pairs; kept in {done.folder}. Next:")
    print(f"  recsim-llm simulate --dataset {config.dataset} --user-model hybrid:{done.inner} --llm {llm}")
    print(f"  recsim-llm certify --dataset {config.dataset} --user-model hybrid:{done.inner} --llm {llm}")
