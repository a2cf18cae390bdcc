"""Python calls and files that one page takes: how far a reader, and the interpreter, has to go for it.

Counted with `sys.setprofile` over the second `PageVectorEnv.step` of two sessions with three items a page: calls of
functions that are defined in this package, and the files that they are in. Agents answer by hash, without a model.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import numpy as np

import recsim_llm
from benchmarks.table import Row
from recsim_llm.agents.population import make_population
from recsim_llm.environments.vector import PageVectorEnv
from recsim_llm.testing.scripted import hash_choice_llm

SESSIONS, ITEMS = 2, 3
AIMS = {"statistical": (35, 6), "agent4rec": (250, 12)}
"""Most calls and files that a page should take."""
_PACKAGE = str(Path(recsim_llm.__file__).parent)


def run(quick: bool) -> Iterator[Row]:
    """A page of statistical users and one of agents with memories."""
    for kind, (most_calls, most_files) in AIMS.items():
        calls, files = spent(kind)
        yield Row(f"{kind}: Python calls in the package, a page of two sessions", calls, "calls", f"{most_calls}")
        yield Row(f"{kind}: files that these are in", files, "files", f"{most_files}")


def spent(kind: str) -> tuple[int, int]:
    """Calls and files of the second step."""
    users = make_population("synthetic", kind, hash_choice_llm(0)).users
    env = PageVectorEnv(SESSIONS, "synthetic", users, page_size=ITEMS, autoreset_mode="disabled")
    env.reset(seed=0)
    pages = np.tile(np.arange(ITEMS), (SESSIONS, 1))
    env.step(pages)
    env.sessions.ended[:] = False  # whoever left goes on: the page is what is counted
    calls: list[str] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_PACKAGE):
            calls.append(frame.f_code.co_filename)

    sys.setprofile(profile)
    try:
        env.step(pages + ITEMS)
    finally:
        sys.setprofile(None)
    return len(calls), len(set(calls))
