"""Progress bars of jobs that take minutes: a line on a terminal, a widget in a notebook, few lines in a log file."""

from __future__ import annotations

import sys
from typing import Any

from tqdm.auto import tqdm


def progress_bar(total: int, unit: str, desc: str, show: bool = True) -> tqdm[Any]:
    """Open a progress bar; close it, or use it as a context manager.

    Args:
        total: Units of work.
        unit: Name of one unit.
        desc: Description of the job.
        show: False for an invisible bar.
    """
    # In a log file, a line every ten seconds is enough.
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    bar: tqdm[Any] = tqdm(total=total, unit=unit, desc=desc, disable=not show, mininterval=0.1 if watched else 10.0)
    return bar
