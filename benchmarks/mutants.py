"""`python -m benchmarks.mutants`: what `mutmut run` found, a row a module, and every mutant that no test noticed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mutmut.stats import status_by_exit_code

GATE = 0.85
"""Least share of each module's mutants that tests must notice."""


def main(folder: Path = Path("mutants")) -> int:
    """Print both tables; 1 if a module is below the gate, or has mutants that were not tried."""
    found = {path: json.loads(path.read_text("utf-8"))["exit_code_by_key"] for path in sorted(folder.rglob("*.meta"))}
    if not any(found.values()):
        print(f"There are no mutants in {folder}/: run `mutmut run` first.")
        return 1
    print("| module | mutants | killed | timeout | survived | killed, share |\n| --- | --- | --- | --- | --- | --- |")
    worst = 1.0
    for path, codes in found.items():
        if codes:
            counts = [status_by_exit_code[code] for code in codes.values()]
            killed, timeout = counts.count("killed"), counts.count("timeout")
            share = (killed + timeout) / len(counts)
            worst = min(worst, share)
            name = str(path.relative_to(folder)).removesuffix(".meta").removeprefix("recsim_llm/")
            rest = len(counts) - killed - timeout
            print(f"| `{name}` | {len(counts)} | {killed} | {timeout} | {rest} | {100 * share:.1f} % |")
    print()
    for codes in found.values():
        for name, code in codes.items():
            if status_by_exit_code[code] not in ("killed", "timeout"):
                print(f"{status_by_exit_code[code]}: {name}")
    return int(worst < GATE)


if __name__ == "__main__":
    sys.exit(main())
