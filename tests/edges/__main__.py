"""Writes the table "Bad inputs" of docs/faults.md: `python -m tests.edges` (`--failures` prints what is wrong)."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from tests.edges.cases import all_cases
from tests.edges.judging import VERDICTS, judge

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "faults.md"
BEFORE = Path(__file__).with_name("before.json")
BEGIN, END = "<!-- bad inputs: made by python -m tests.edges -->", "<!-- end of bad inputs -->"
HEADS = ("traceback", "let in", "unclear sentence")
Counts = dict[str, dict[str, int]]


def count(report: bool) -> Counts:
    """Verdicts by group."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "RECSIM_LLM_HOME": f"{folder}/home",
            "HF_HUB_OFFLINE": "1",
            "OPENAI_BASE_URL": "http://127.0.0.1:9",
        }
        os.chdir(folder)
        for case in all_cases(Path(folder) / "places"):
            outcome = judge(case)
            found[case.group][outcome.verdict] += 1
            if report and outcome.verdict != "refused":
                print(f"{outcome.verdict:10} {case.label}\n{'':11}{outcome.message[-600:]}", file=sys.stderr)
    return {group: dict(verdicts) for group, verdicts in found.items()}


def table(now: Counts, before: Counts) -> str:
    """The rows, as Markdown."""
    heads = ["where", "cases", "refused with a sentence", *(f"{name}: before / now" for name in HEADS)]
    rows = [f"| {' | '.join(heads)} |"]
    rows.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    total: dict[str, Counter[str]] = {"now": Counter(), "before": Counter()}
    for group, verdicts in now.items():
        old = before.get(group, {})
        total["now"].update(verdicts)
        total["before"].update(old)
        rows.append(_row(f"`{group}`", verdicts, old))
    return "\n".join([*rows, _row("all", total["now"], total["before"])])


def _row(name: str, now: dict[str, int], before: dict[str, int]) -> str:
    pairs = " | ".join(f"{before.get(v, 0)} / {now.get(v, 0)}" for v in VERDICTS[1:])
    return f"| {name} | {sum(now.values())} | {now.get('refused', 0)} | {pairs} |"


def main(args: list[str]) -> None:
    """Write the table, or with `--record` the counts of an older version."""
    now = count("--failures" in args)
    if "--record" in args:
        Path(args[args.index("--record") + 1]).write_text(json.dumps(now, indent=1) + "\n")
        return
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    made = table(now, json.loads(BEFORE.read_text()))
    PAGE.write_text(f"{head}{BEGIN}\n\n{made}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    print(made)


if __name__ == "__main__":
    main(sys.argv[1:])
