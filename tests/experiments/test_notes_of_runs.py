"""What a simulation notes beside its steps: complete, at the right pages, the same after an interruption."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsim_llm.experiments.simulation import simulate as simulation
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.runs import read_catalogue

CONFIG = SimulationConfig(
    dataset="synthetic:0:60",
    user_model="agent4rec",
    llm="uniform",
    policies=("ease",),
    users=6,
    pages=2,
    page_size=3,
    batch_size=4,
)


def rows(folder, kind):
    return [row for path in sorted((folder / kind).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_every_page_has_its_scores_its_calls_and_its_memories(tmp_path):
    (run,) = simulate(CONFIG, tmp_path, progress=False)
    steps = run.step_batch()
    pages = set(zip(steps.session.tolist(), steps.user.tolist(), steps.page.tolist(), strict=True))
    for kind in ("why", "asked", "memories"):
        assert {(row["session"], row["user"], row["page"]) for row in rows(run.folder, kind)} == pages
    assert {row["key"] for row in rows(run.folder, "asked")} == set(run.calls()["key"].to_pylist())
    for row in rows(run.folder, "why"):
        assert row["scores"] == sorted(row["scores"], reverse=True)
    history = pq.read_table(run.folder / "history.parquet").to_pylist()
    assert {row["user"] for row in history} == set(steps.user.tolist())
    assert max(row["item"] for row in history) < len(read_catalogue(run.folder)[0])


def test_a_society_keeps_its_links_and_what_was_heard(tmp_path):
    config = SimulationConfig(
        dataset="synthetic:0:60",
        user_model="agent4rec",
        llm="uniform",
        policies=("ease",),
        users=40,
        rounds=12,
        pages=2,
        page_size=3,
    )
    (run,) = simulate(config, tmp_path, progress=False)
    links = pq.read_table(run.folder / "links.parquet").to_pylist()
    pairs = {(row["user"], row["other"]) for row in links}
    assert pairs
    assert pairs == {(b, a) for a, b in pairs}
    heard = [row["text"] for row in run.events().to_pylist() if row["action"] == "hear"]
    noted = [row for row in rows(run.folder, "memories") if row["kind"] == "heard"]
    assert len(noted) == len(heard)


def test_an_interrupted_run_has_the_same_notes_when_it_is_finished(tmp_path, monkeypatch):
    (whole,) = simulate(CONFIG, tmp_path / "whole", progress=False)
    write, calls = simulation._Scribe.write, []

    def stopped(self, happening):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(self, happening)

    monkeypatch.setattr(simulation._Scribe, "write", stopped)
    with pytest.raises(KeyboardInterrupt):
        simulate(CONFIG, tmp_path / "again", progress=False)
    monkeypatch.undo()
    (again,) = simulate(CONFIG, tmp_path / "again", resume=True, progress=False)
    for kind in ("why", "asked", "memories"):
        a, b = rows(whole.folder, kind), rows(again.folder, kind)
        assert len(a) == len(b) > 0
        np.testing.assert_equal(a, b)
