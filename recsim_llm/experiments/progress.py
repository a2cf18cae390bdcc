"""Progress bars of jobs that take minutes: a line on a terminal, a widget in a notebook, few lines in a log file."""

from __future__ import annotations

import sys
from typing import Any

from tqdm.auto import tqdm


def progress_bar(total: int, unit: str, desc: str, show: bool = True) -> tqdm[Any]:
    """A bar; close it, or use it as a context.

    Args:
        total: Units of work.
        unit: What one of them is called.
        desc: What is being done.
        show: False for a bar that nobody sees.
    """
    # In a log file, a line every ten seconds is enough.
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    bar: tqdm[Any] = tqdm(total=total, unit=unit, desc=desc, disable=not show, mininterval=0.1 if watched else 10.0)
    return bar
