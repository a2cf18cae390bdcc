"""Commands that train policies and run studies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recsim_llm.experiments.studies.run_study import run_study
from recsim_llm.experiments.studies.study import Study, StudyEntry, read_study
from recsim_llm.experiments.studies.study_report import write_report
from recsim_llm.experiments.studies.study_table import text_table
from recsim_llm.experiments.training.train import TrainConfig, train


def run_training(config: TrainConfig) -> None:
    """Train; print where the policy is and what to do next."""
    try:
        path = train(config)
    except KeyboardInterrupt:
        print("\nInterrupted. Go on with the same command and --resume.")
        raise
    folder = path.with_suffix("")
    print(f"The policy is {path}; curves and checkpoints are in {folder}. Next:")
    print(f"  recsim-llm simulate --quit window --page-size 1 --pages {config.max_pages} --policy random oracle {path}")
    print(f"  tensorboard --logdir {folder}")


def chosen_study(
    name: str,
    dataset: str = "",
    policies: tuple[str, ...] = (),
    seeds: int = 0,
    users: int = 0,
    policy_llm: str = "",
) -> Study:
    """A study with some of its options changed; those left empty or 0 stay.

    Raises:
        ConfigError: There is no such study, or the result cannot work.
    """
    study = read_study(name)
    rows = {entry.policy: entry for entry in study.entries} | {entry.label: entry for entry in study.entries}
    if policies:
        study = replace(study, entries=tuple(rows.get(policy, StudyEntry(policy)) for policy in policies))
    study = replace(
        study,
        dataset=dataset or study.dataset,
        seeds=seeds or study.seeds,
        users=users or study.users,
        policy_llm=policy_llm or study.policy_llm,
    )
    if users:
        study = replace(study, entries=tuple(replace(e, users=min(e.users, users)) for e in study.entries))
    study.check()
    return study


def run_study_command(study: Study, out: Path) -> None:
    """Run a study, print its table, and say where everything is."""
    try:
        rows = run_study(study, out)
    except KeyboardInterrupt:
        print(f"\nInterrupted; what is finished is kept in {out}. Go on with the same command.")
        raise
    report, *_ = write_report(study, rows, out)
    print(text_table(rows))
    print(f"\nThe report is {report}; trained policies and recorded runs lie beside it. Next:")
    print(f"  recsim-llm replay {out / 'runs'}")
    print(f"  recsim-llm compare {out / 'runs' / 'seed0'}")


def study_folder(study: str, dataset: str) -> Path:
    """Where a study is kept by default."""
    return Path("studies") / f"{Path(study).stem}-{Path(dataset).name.replace(':', '-')}"
