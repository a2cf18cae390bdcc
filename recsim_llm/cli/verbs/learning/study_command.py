"""Run a study: many policies, several seeds, the same people; one table, one report. Finished parts are reused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tyro.conf import Positional

from recsim_llm.checked import CountOrNone, Name, OutFolder, Text
from recsim_llm.experiments.studies.run_study import run_study
from recsim_llm.experiments.studies.study import Study, StudyEntry, read_study
from recsim_llm.experiments.studies.study_report import write_report
from recsim_llm.experiments.studies.study_table import text_table


@dataclass(frozen=True)
class StudyCommand:
    """Options of `recsim-llm study`."""

    study: Positional[Name] = "long-term"
    """A study that comes with the package (long-term, quick), or a TOML file (docs/long_term_study.md)."""
    dataset: Text = ""
    """Another data set than the study's."""
    policies: tuple[Name, ...] = ()
    """Only these rows of the study, or further policies that are fitted to the log."""
    seeds: CountOrNone = 0
    """Another number of seeds."""
    users: CountOrNone = 0
    """Another number of people per seed."""
    policy_llm: Text = ""
    """Another language model of planners."""
    tell_exit: bool = False
    """Tell all LLM planners the rule by which people leave; a row's own 'react?tell_exit=false' takes precedence."""
    out: OutFolder | None = None
    """Folder; default studies/STUDY-DATASET."""


def run(command: StudyCommand) -> None:
    """Run the study with the changes that the options make."""
    study = chosen_study(
        command.study,
        command.dataset,
        command.policies,
        command.seeds,
        command.users,
        command.policy_llm,
        command.tell_exit,
    )
    run_study_command(study, command.out or study_folder(command.study, study.dataset))


def chosen_study(
    name: str,
    dataset: str = "",
    policies: tuple[str, ...] = (),
    seeds: int = 0,
    users: int = 0,
    policy_llm: str = "",
    tell_exit: bool = False,
) -> Study:
    """A study with some of its options changed; empty, 0 and False leave an option unchanged.

    Raises:
        ConfigError: There is no such study, or the result is invalid.
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
        tell_exit=tell_exit or study.tell_exit,
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
    """Default folder of a study."""
    return Path("studies") / f"{Path(study).stem}-{Path(dataset).name.replace(':', '-')}"
