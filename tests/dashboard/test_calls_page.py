"""The LLM calls page: sums and searches against plain Python over the recorded calls; every kind of run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from recsim_llm.dashboard.calls import calls_data
from recsim_llm.dashboard.calls.calls_data import KINDS, PAGE, Search
from recsim_llm.dashboard.view import RunView
from recsim_llm.errors import RecordingError


def _page(top: str) -> None:
    from pathlib import Path

    from recsim_llm.dashboard.calls.calls_page import show

    show(Path(top))


def opened(top: Path, **query: str) -> AppTest:
    app = AppTest.from_function(_page, args=(str(top),), default_timeout=30)
    app.query_params.update(query)
    app.run()
    assert not app.exception
    return app


@pytest.fixture
def view(recorded) -> RunView:
    return RunView(recorded / "agents/ease")


def test_sums_are_those_of_the_calls(view):
    rows = view.run.calls().to_pylist()
    found = calls_data.sums(view)
    assert (found.calls, found.read) == (len(rows), sum(row["prompt_tokens"] for row in rows))
    assert found.counters["asked"] == view.manifest.summary["answers"]["asked"]
    by_round = Counter(row["round"] for row in rows)
    assert dict(calls_data.rounds(view)[["round", "calls"]].itertuples(index=False)) == by_round
    offered = Counter((" | ".join(row["choices"]), row["text"]) for row in rows if row["choices"] and row["slots"] == 1)
    assert {(a, b): n for a, b, n in calls_data.answers(view).itertuples(index=False)} == offered
    assert calls_data.sizes(view)["calls"].sum() == len(rows)
    assert calls_data.label_mass(view)["calls"].sum() == sum(bool(row["choices"]) for row in rows)


@pytest.mark.parametrize("words", ["WATCH", "%", "'", "nowhere to be found", ""])
@pytest.mark.parametrize("kind", ["", *KINDS])
def test_a_search_finds_what_plain_python_finds(view, words, kind):
    def fits(row):
        texts = [row[name].lower() for name in ("question", "context", "system", "text")]
        kinds = {
            "labels": bool(row["choices"]),
            "text": not (row["choices"] or row["schema"]),
            "schema": bool(row["schema"]),
        }
        return any(words.lower() in text for text in texts) and (not kind or kinds[kind])

    expected = {row["key"].hex() for row in view.run.calls().to_pylist() if fits(row)}
    search, seen = Search(words, kind), []
    assert calls_data.found(view, search) == len(expected)
    for page in range(len(expected) // PAGE + 1):
        seen += calls_data.listed(view, search, page)["id"].tolist()
    assert sorted(seen) == sorted(expected)


def test_a_call_is_whole_and_knows_its_pages(view):
    row = view.run.calls().to_pylist()[0]
    one = calls_data.call(view, row["key"].hex())
    assert [one[name] for name in ("system", "context", "question", "text")] == [
        row[name] for name in ("system", "context", "question", "text")
    ]
    (place, *_) = calls_data.places(view, row["key"].hex())
    assert view.run.session(place[0]).user[0] == place[1]
    with pytest.raises(RecordingError, match="no call"):
        calls_data.call(view, "00")


def test_the_page_shows_and_searches(recorded):
    app = opened(recorded, run="agents/ease")
    assert app.metric[0].value == f"{RunView(recorded / 'agents/ease').run.calls().num_rows:,}"
    assert any("replay?run=" in text.value for text in app.markdown)
    app.text_input[0].set_value("nowhere to be found").run()
    assert not app.exception
    assert any(text.value == "0 calls" for text in app.caption)


@pytest.mark.parametrize("name", ["sessions/ease", "town/popularity"])
def test_runs_without_a_model_get_a_sentence(recorded, name):
    assert "No language model" in opened(recorded, run=name).info[0].value
