"""The published run of Agent4Rec, lived again from its record; needs the data. Its hazard fit, on invented exits."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from recsim_llm.agents.leaving import LeaveParameters, leave_probability

VARIABLE = "RECSIM_LLM_AGENT4REC"


@pytest.fixture
def benchmark(monkeypatch):
    """A module of the benchmarks, which stand beside the package and are not installed with it."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return lambda name: import_module(f"benchmarks.{name}")


def test_the_fit_finds_the_hazard_that_exits_were_drawn_from(benchmark):
    exits = benchmark("agent4rec_exits")
    rng, size = np.random.default_rng(0), 60_000
    page, activity, satisfaction = rng.integers(0, 5, size), rng.integers(1, 4, size), rng.random(size)
    true = LeaveParameters(base=-1.0, per_page=0.6, pleasure=1.5, patience=0.8)
    left = rng.random(size) < leave_probability(true, page, satisfaction, np.zeros(size), activity)
    forced = page == 4
    # Whatever forced exits look like, they must not count.
    found, errors = exits.fit_exits(exits.Exits(page, satisfaction, activity, left | forced, forced))
    for name, error in zip(("base", "per_page", "pleasure", "patience"), errors, strict=True):
        assert error < 0.1
        assert getattr(found, name) == pytest.approx(getattr(true, name), abs=4 * error)


@pytest.mark.skipif(VARIABLE not in os.environ, reason=f"needs Agent4Rec's released data in ${VARIABLE}")
def test_the_published_run_comes_out_as_published(benchmark, capsys):
    assert benchmark("replay_agent4rec").main([os.environ[VARIABLE], "--fit-exits"]) == 0
    printed = capsys.readouterr().out
    for line in (
        "Pages identical: 3,234 of 3,234",
        "Stored likes: 1.9727",
        "Stored precision: 0.4155",
        "align lines are resolved to its items in order: 3,234 of 3,234",
        "Hazard fitted to 3120 free decisions",
    ):
        assert line in printed


@pytest.mark.skipif(VARIABLE not in os.environ, reason=f"needs Agent4Rec's released data in ${VARIABLE}")
def test_a_changed_record_is_noticed(benchmark, tmp_path, capsys):
    source = Path(os.environ[VARIABLE])
    for name in ("movie_detail.csv", "user_statistic.csv", "cf_data"):
        (tmp_path / name).symlink_to(source / name)
    run = tmp_path / "runs" / "MF_100x5x4"
    run.mkdir(parents=True)
    for file in (source / "runs" / run.name).iterdir():
        (run / file.name).write_bytes(file.read_bytes())
    stored = run / "metrics.txt"
    stored.write_text(stored.read_text("utf-8").replace("exit page: 3.17", "exit page: 3.18"), "utf-8")
    assert benchmark("replay_agent4rec").main([str(tmp_path), "--run", run.name]) == 1
    assert "Not as published: Stored exit" in capsys.readouterr().out
