"""The Runs page: finished, running, broken and no runs at all; its numbers are those of `compare`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from recsim_llm.dashboard.runs.run_list import progress, run_row, verdict
from recsim_llm.dashboard.view import RunView
from recsim_llm.experiments.metrics import summarise


def _page(top: str) -> None:
    from pathlib import Path

    from recsim_llm.dashboard.runs.runs_page import show

    show(Path(top))


def opened(top: Path) -> AppTest:
    app = AppTest.from_function(_page, args=(str(top),), default_timeout=30).run()
    assert not app.exception
    return app


def halve(folder: Path) -> None:
    """Leave the first half of the parts, as if the process were still at work."""
    parts = sorted((folder / "steps").iterdir())
    for path in parts[len(parts) // 2 :]:
        path.unlink()
    manifest = json.loads((folder / "run.json").read_text())
    manifest |= {"status": "running", "parts": 0, "summary": {}}
    (folder / "run.json").write_text(json.dumps(manifest))


def test_a_row_says_what_compare_says(recorded):
    view = RunView(recorded / "sessions/ease")
    row, found = run_row(view, "sessions/ease"), summarise(view.run.step_batch())
    assert (row.people, row.sessions, row.pages) == tuple(found[n].value for n in ("users", "sessions", "pages"))
    assert row.watch_rate == pytest.approx(found["watch_rate"].value, rel=1e-12)
    assert row.mean_rating == pytest.approx(found["mean_rating"].value, rel=1e-12)
    assert row.length == pytest.approx(found["session_length"].value, rel=1e-12)
    assert (row.status, row.progress, row.calls) == ("finished", 1.0, 0)
    assert verdict(view) == "the truth"


def test_calls_and_tokens_are_those_of_the_summary(recorded):
    view = RunView(recorded / "agents/ease")
    spent = view.manifest.summary["llm"]
    row = run_row(view, "agents/ease")
    assert row.calls == spent["calls"] == view.run.calls().num_rows
    assert row.tokens == spent["prompt_tokens"] + spent["output_tokens"]


def test_every_run_is_a_row(recorded):
    app = opened(recorded)
    frame = app.dataframe[0].value
    assert set(frame["name"]) == {"sessions/ease", "sessions/random", "agents/ease", "town/popularity"}
    assert [metric.value for metric in app.metric][0] == "4"


def test_a_running_one_shows_how_far_it_is(recorded, tmp_path):
    shutil.copytree(recorded / "sessions/ease", tmp_path / "live")
    halve(tmp_path / "live")
    view = RunView(tmp_path / "live")
    steps = view.run.step_batch()
    assert 0 < progress(view) < 1
    assert progress(view) == (steps.left | steps.truncated).sum() / 30
    assert "live is running" in opened(tmp_path).get("progress")[0].proto.text
    shutil.rmtree(tmp_path / "live" / "steps")
    (tmp_path / "live" / "steps").mkdir()
    assert run_row(RunView(tmp_path / "live"), "live").watch_rate is None
    opened(tmp_path)


def test_broken_runs_and_empty_folders_are_sentences(recorded, tmp_path):
    assert "simulate" in opened(tmp_path).code[0].value
    (tmp_path / "<b>old").mkdir()
    (tmp_path / "<b>old" / "run.json").write_text('{"format_version": 1}')
    shutil.copytree(recorded / "sessions/ease", tmp_path / "lost")
    sorted((tmp_path / "lost" / "steps").iterdir())[0].unlink()
    warnings = [warning.value for warning in opened(tmp_path).warning]
    assert any("is missing" in text for text in warnings)
    assert any("format 1" in text and "<b>" not in text for text in warnings)
