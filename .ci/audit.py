"""Says what a report of pip-audit (JSON) found, and what it could not look up: `make audit`."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def verdict(path: Path) -> tuple[str, int]:
    """What to print, and the exit code: 1 where a vulnerability is known, else 0.

    Args:
        path: The report; it is missing where the service did not answer.
    """
    if not path.is_file():
        return "Nothing was audited: the service that knows vulnerabilities did not answer.", 0
    packages = json.loads(path.read_text(encoding="utf-8"))["dependencies"]
    looked_up = [each for each in packages if "skip_reason" not in each]
    found = [
        f"{each['name']} {each['version']}: {known['id']}, mended in {', '.join(known['fix_versions']) or 'no version'}"
        for each in looked_up
        for known in each["vulns"]
    ]
    if not looked_up:
        return f"Nothing was audited: the service knew none of the {len(packages)} packages.", 0
    skipped = f", {len(packages) - len(looked_up)} could not be" if len(looked_up) < len(packages) else ""
    lines = [*found, f"{len(looked_up)} packages were audited{skipped}; {len(found)} known vulnerabilities."]
    return "\n".join(lines), 1 if found else 0


if __name__ == "__main__":
    said, code = verdict(Path(sys.argv[1]))
    print(said)
    sys.exit(code)
