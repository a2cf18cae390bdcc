"""Measure a tuned model on data that it was not trained on, beside collaborative filtering and genres."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import OmitArgPrefixes, Positional

from recsim_llm.checked import AnyPath
from recsim_llm.experiments.tuning.assessment.assess import AssessConfig, as_json, assess, report
from recsim_llm.runs.run_files import write_durably


@dataclass(frozen=True)
class AssessCommand:
    """Options of `recsim-llm assess`."""

    folder: Positional[AnyPath]
    """Folder of 'recsim-llm tune --out'."""
    config: OmitArgPrefixes[AssessConfig] = field(default_factory=AssessConfig)


def run(command: AssessCommand) -> None:
    """Assess a tuned model; print the tables and where they are."""
    run_assess(command.folder, command.config)


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
