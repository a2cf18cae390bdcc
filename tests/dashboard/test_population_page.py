"""The Population page: every figure against plain Python over the recorded steps; segments; a society."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from recsim_llm.dashboard.population import population_data, society_data
from recsim_llm.dashboard.population.population_data import Segment
from recsim_llm.dashboard.view import RunView


def _page(top: str) -> None:
    from pathlib import Path

    from recsim_llm.dashboard.population.population_page import show

    show(Path(top))


def opened(top: Path, **query: str) -> AppTest:
    app = AppTest.from_function(_page, args=(str(top),), default_timeout=30)
    app.query_params.update(query)
    app.run()
    assert not app.exception
    return app


def slots_of(view: RunView, users: set[int]) -> list[tuple[int, int, int, float, bool, float]]:
    """(user, slot, item, probability, watched, stars) of every item shown."""
    steps = view.run.step_batch()
    return [
        (
            int(steps.user[s]),
            k,
            int(item),
            float(steps.watch[s, k]),
            bool(steps.watched[s, k]),
            float(steps.ratings[s, k]),
        )
        for s in range(len(steps))
        for k, item in enumerate(steps.items[s])
        if item >= 0 and int(steps.user[s]) in users
    ]


def history_of(view: RunView, users: set[int]) -> list[dict[str, float]]:
    return [row for row in pq.read_table(view.folder / "history.parquet").to_pylist() if row["user"] in users]


@pytest.fixture(params=[Segment(), Segment(activity=1), Segment(diversity=1), Segment(gender="F")])
def some(request, recorded):
    view = RunView(recorded / "sessions/ease")
    chosen = population_data.members(view, request.param)
    users = set(view.people if chosen is None else chosen)
    assert users == {u for u, p in view.people.items() if request.param.holds(p)}
    return view, chosen, users


def test_figures_are_those_of_the_steps(some):
    view, chosen, users = some
    shown, real = slots_of(view, users), history_of(view, users)
    assert population_data.count(view, chosen) == len({row[0] for row in shown})
    ratings = Counter(("simulated", row[5]) for row in shown if row[4]) + Counter(("real", r["stars"]) for r in real)
    frame = population_data.ratings(view, chosen)
    assert {(s, x): n for s, x, n in frame[["source", "stars", "n"]].itertuples(index=False)} == ratings
    assert frame.groupby("source")["share"].sum().tolist() == pytest.approx([1.0] * frame["source"].nunique())
    for slot, count, watched, expected in population_data.slots(view, chosen).itertuples(index=False):
        here = [row for row in shown if row[1] == slot - 1]
        assert (count, watched) == (len(here), pytest.approx(sum(row[4] for row in here) / len(here)))
        assert expected == pytest.approx(sum(row[3] for row in here) / len(here))
    counts = population_data.item_counts(view, chosen)
    assert dict(counts[["item", "shown"]][counts["shown"] > 0].itertuples(index=False)) == Counter(r[2] for r in shown)
    assert dict(counts[["item", "real"]][counts["real"] > 0].itertuples(index=False)) == Counter(
        r["item"] for r in real
    )
    watched = Counter(genre for row in shown if row[4] for genre in view.items[row[2]].genres)
    genres = population_data.genres(view, counts)
    simulated = genres[genres["source"] == "simulated"].set_index("genre")["share"]
    for genre, count in watched.items():
        assert simulated[genre] == pytest.approx(count / watched.total())
    assert population_data.popularity(counts).groupby("source")["share"].sum().tolist() == pytest.approx([1.0] * 3)


def test_lengths_count_sessions_that_have_ended(recorded):
    view = RunView(recorded / "sessions/ease")
    pages = Counter(Counter(view.run.step_batch().session.tolist()).values())
    assert dict(population_data.lengths(view, None)[["pages", "n"]].itertuples(index=False)) == pages


def test_word_spreads_as_the_diary_says(recorded):
    view = RunView(recorded / "town/popularity")
    diary = view.run.events().to_pylist()
    talked = society_data.talked_about(view)
    item = int(talked["item"][0])
    heard: dict[int, float] = {}
    for row in diary:
        if row["action"] == "hear" and row["item"] == item:
            heard.setdefault(row["user"], row["hour"])
    frame = society_data.diffusion(view, item)
    assert talked["people"][0] == len(heard) > 0
    assert frame[frame["what"] == "heard of it"]["hour"].tolist() == sorted(heard.values())
    began = {row["session"]: row["hour"] for row in reversed(diary) if row["session"] >= 0}
    steps = view.run.step_batch()
    after = {
        int(steps.user[s])
        for s in range(len(steps))
        if item in steps.items[s][steps.watched[s]]
        and began[int(steps.session[s])] >= heard.get(int(steps.user[s]), 1e9)
    }
    assert len(frame[frame["what"] == "watched it afterwards"]) == len(after)


def test_the_drawing_is_the_same_every_time_and_says_who_is_missing(recorded, monkeypatch):
    view = RunView(recorded / "town/popularity")
    links = pq.read_table(view.folder / "links.parquet").to_pylist()
    friends = Counter(row["user"] for row in links)
    degrees = dict(society_data.degrees(view).itertuples(index=False))
    assert degrees == Counter(friends.values())
    drawn = society_data.drawing(view)
    assert drawn.left_out == 0
    assert drawn.people.equals(society_data.drawing(view).people)
    assert dict(drawn.people[["user", "friends"]].itertuples(index=False)) == friends
    monkeypatch.setattr(society_data, "DRAWN", 10)
    assert (len(society_data.drawing(view).people), society_data.drawing(view).left_out) == (10, len(friends) - 10)


def test_a_filter_changes_who_is_counted(recorded):
    app = opened(recorded, run="sessions/ease")
    before = app.markdown[0].value if "people" in app.markdown[0].value else app.main.markdown[0].value
    box = next(box for box in app.sidebar.selectbox if box.label == "Activity")
    box.select(1).run()
    assert not app.exception
    assert before != app.main.markdown[0].value
    assert "fit the segment" in app.main.markdown[0].value


@pytest.mark.parametrize("name", ["agents/ease", "town/popularity", "sessions/random"])
def test_every_kind_of_run_is_shown(recorded, name):
    app = opened(recorded, run=name)
    assert any("society" in text.value.lower() for text in app.subheader)
    assert bool(app.info) == (name != "town/popularity")
