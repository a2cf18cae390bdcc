"""`python -m benchmarks.mutants`: results of `mutmut run`, one row per module, and every mutant that no test killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mutmut.stats import status_by_exit_code

GATE = 0.85
"""Least share of each module's mutants that tests must kill."""


def main(folder: Path = Path("mutants")) -> int:
    """Print both tables; return 1 if a module is below the gate; an untried mutant counts as surviving."""
    meta = {path: json.loads(path.read_text("utf-8"))["exit_code_by_key"] for path in sorted(folder.rglob("*.meta"))}
    if not any(meta.values()):
        print(f"There are no mutants in {folder}/: run `mutmut run` first.")
        return 1
    print("| module | mutants | tried | noticed | not noticed | noticed of those tried |")
    print("| --- | --- | --- | --- | --- | --- |")
    worst, missed = 1.0, []
    for path, codes in meta.items():
        if codes:
            tried = {
                name: found for name, code in codes.items() if (found := status_by_exit_code[code]) != "not checked"
            }
            lost = [f"{found}: {name}" for name, found in tried.items() if found not in ("killed", "timeout")]
            worst = min(worst, (len(tried) - len(lost)) / len(codes))
            share = f"{1 - len(lost) / len(tried):.1%}" if tried else "not measured"
            name = str(path.relative_to(folder)).removesuffix(".meta").removeprefix("recsim_llm/")
            print(f"| `{name}` | {len(codes)} | {len(tried)} | {len(tried) - len(lost)} | {len(lost)} | {share} |")
            missed += lost
    print("", *missed, sep="\n")
    return int(worst < GATE)


if __name__ == "__main__":
    sys.exit(main())
