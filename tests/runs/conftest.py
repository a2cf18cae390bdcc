from __future__ import annotations

import pytest
from some_runs import ROUNDS, make_manifest, write_rounds

from recsim_llm.runs.store import RunWriter


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    writer = RunWriter.create(folder, make_manifest())
    write_rounds(writer, ROUNDS)
    writer.finish({"seconds": 1.5})
    return folder


@pytest.fixture
def broken_off(tmp_path):
    """A run of two rounds whose process is gone."""
    writer = RunWriter.create(tmp_path / "run", make_manifest())
    write_rounds(writer, 2)
    writer.interrupt("KeyboardInterrupt")
    return tmp_path / "run"
