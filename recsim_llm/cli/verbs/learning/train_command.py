"""Train a policy that learns by acting; its file is a policy for --policy."""

from __future__ import annotations

from dataclasses import dataclass, field

from tyro.conf import OmitArgPrefixes

from recsim_llm.experiments.training.train import TrainConfig, train


@dataclass(frozen=True)
class TrainCommand:
    """Options of `recsim-llm train`."""

    config: OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)


def run(command: TrainCommand) -> None:
    """Train; print where the policy is and what to do next."""
    config = command.config
    try:
        path = train(config)
    except KeyboardInterrupt:
        print("\nInterrupted. Go on with the same command and --resume.")
        raise
    folder = path.with_suffix("")
    print(f"The policy is {path}; curves and checkpoints are in {folder}. Next:")
    print(f"  recsim-llm simulate --quit window --page-size 1 --pages {config.max_pages} --policy random oracle {path}")
    print(f"  tensorboard --logdir {folder}")
