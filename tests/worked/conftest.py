"""What several worked examples need."""

from __future__ import annotations

import pytest


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """tianshou's loops as Python: to compile them takes many seconds, and here they run a few steps."""
    algorithms = pytest.importorskip("tianshou.algorithm.algorithm_base")
    buffers = pytest.importorskip("tianshou.data.buffer.manager")
    loops = {algorithms: ("_gae", "_nstep_return"), buffers: ("_prev_index", "_next_index")}
    for module, names in loops.items():
        for name in names:
            compiled = getattr(module, name)
            monkeypatch.setattr(module, name, getattr(compiled, "py_func", compiled))
