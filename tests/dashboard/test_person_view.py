"""One person of a run: numbers against plain Python, charts without surprises, a neighbourhood that can be read."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsim_llm.dashboard.person import person_charts, person_data, person_html
from recsim_llm.dashboard.population import neighbourhood
from recsim_llm.dashboard.view import open_view
from recsim_llm.experiments.metrics import METRICS
from recsim_llm.runs import Manifest, StepBatch, write_catalogue
from recsim_llm.runs.events import events_table
from recsim_llm.runs.recorded_context import HISTORY, HISTORY_SCHEMA, LINKS, LINKS_SCHEMA
from recsim_llm.runs.run import EVENTS, MEMORIES, STEPS, part_path
from recsim_llm.runs.step_notes import MEMORY_SCHEMA
from recsim_llm.types import EMPTY, Item, Persona

NASTY = "<script>alert(1)</script> **x** 😀 עברית"
ITEMS = [Item(i, NASTY if i == 3 else f"Title {i}", 1990 + i, ("Drama", "Comedy")[: 1 + i % 2]) for i in range(12)]
LEVELS = (1.0, 2.0, 3.0, 4.0, 5.0)
K = 3


def steps_of(sessions: list[tuple[int, int, int]], rng: np.random.Generator) -> StepBatch:
    """Random steps; (session, user, pages) each. The last page of odd sessions is cut off, else the user leaves."""
    rows = [(s, u, p, p == pages - 1) for s, u, pages in sessions for p in range(pages)]
    session, user, page, last = (np.array(column) for column in zip(*rows, strict=True))
    n = len(rows)
    items = np.array([rng.permutation(len(ITEMS))[:K] for _ in range(n)], dtype=np.int64)
    items[::4, -1] = EMPTY
    watched = (rng.random((n, K)) < 0.6) & (items != EMPTY)
    return StepBatch(
        session=session.astype(np.int64),
        user=user.astype(np.int64),
        page=page.astype(np.int64),
        items=items,
        watch=rng.random((n, K)),
        rating_probs=np.full((n, K, len(LEVELS)), 1 / len(LEVELS)),
        watched=watched,
        ratings=np.where(watched, rng.integers(1, 6, (n, K)), 0).astype(np.float64),
        leave=rng.random(n),
        left=last & (session % 2 == 0),
        truncated=last & (session % 2 == 1),
        reward=rng.integers(0, 9, n).astype(np.float64),
    )


def persona(user: int) -> Persona:
    return Persona(user, 20 + user, "F", None, 1 + user % 3, 2, 3, ("Drama",), (), (3, 1), (2,), 3.5)


def write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def record(folder: Path, steps: list[StepBatch], people: int, llm: str = "", rounds: int = 0) -> Path:
    """A run folder written by hand, without data set or model."""
    folder.mkdir(parents=True)
    config = {"llm": llm, "rounds": rounds}
    numbers = {"num_users": people, "page_size": K, "rating_levels": LEVELS, "parts": len(steps)}
    names = {"name": folder.name, "dataset": "by hand", "dataset_checksum": "", "policy": "ease", "llm": llm}
    model = "agent4rec" if llm else "statistical"
    Manifest(config=config, seed=0, versions={}, user_model=model, status="finished", **names, **numbers).write(folder)
    for number, part in enumerate(steps):
        write(part_path(folder, STEPS, number), part.to_table())
    write_catalogue(folder, ITEMS, [str(item.id) for item in ITEMS])
    rows = [{"raw_id": f"{100 - user}", **asdict(persona(user))} for user in range(people)]
    (folder / "people.json").write_text(json.dumps(rows))
    return folder


SESSIONS = [(0, 0, 3), (1, 1, 2), (2, 2, 4), (3, 1, 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    steps = steps_of(SESSIONS, np.random.default_rng(0))
    half = np.arange(len(steps)) < 4
    return record(tmp_path / "run", [steps.take(half), steps.take(~half)], people=3)


def test_what_was_shown_is_every_filled_slot_in_order(folder):
    view = open_view(folder)
    steps = view.run.step_batch().take(view.run.step_batch().user == 1).in_order()
    slow = [
        (steps.session[r], steps.page[r], k, steps.items[r, k], bool(steps.watched[r, k]), steps.ratings[r, k])
        for r in range(len(steps))
        for k in range(K)
        if steps.items[r, k] != EMPTY
    ]
    frame = person_data.shown(view, 1)
    fast = frame[["session", "page", "slot", "item", "watched", "stars"]].itertuples(index=False, name=None)
    assert list(fast) == slow
    assert frame["title"].tolist() == [ITEMS[item].label for item in frame["item"]]


def test_sessions_say_how_they_ended(folder):
    view = open_view(folder)
    table = person_data.sessions(person_data.shown(view, 1)).to_dict("records")
    steps = view.run.step_batch()
    assert [row["session"] for row in table] == [1, 3]
    assert [row["pages"] for row in table] == [2, 1]
    assert [row["end"] for row in table] == ["cut off at the page limit"] * 2
    assert [row["reward"] for row in table] == [steps.reward[steps.session == s].sum() for s in (1, 3)]
    assert [row["watched"] for row in table] == [steps.watched[steps.session == s].sum() for s in (1, 3)]
    assert person_data.sessions(person_data.shown(view, 0))["end"].tolist() == ["left"]
    unfinished = person_data.shown(view, 0).assign(left=False, truncated=False)
    assert person_data.sessions(unfinished)["end"].tolist() == ["going on"]


def test_measures_are_those_of_the_whole_run(folder):
    view = open_view(folder)
    totals = view.totals()
    found = person_data.measures(totals, 2)
    assert found.keys() == METRICS.keys()
    steps = view.run.step_batch()
    mine = steps.take(steps.user == 2)
    assert found["watch_rate"].value == mine.watched.sum() / (mine.items != EMPTY).sum()
    assert found["session_length"].value == 4
    assert found["session_length"].everybody == pytest.approx(np.mean([3, 1.5, 4]))
    assert person_data.measures(totals, 77) == {}


def test_visitors_stand_in_the_order_of_numbers(folder):
    assert person_data.visitors(open_view(folder)) == {"98": 2, "99": 1, "100": 0}
    (folder / "people.json").unlink()
    assert person_data.visitors(open_view(folder)) == {"0": 0, "1": 1, "2": 2}


@pytest.mark.parametrize("text", ["٣", "²", "", "9" * 40, "u12", "-1"])
def test_any_id_can_be_sorted(folder, text):
    rows = json.loads((folder / "people.json").read_text())
    rows[0]["raw_id"] = text
    (folder / "people.json").write_text(json.dumps(rows))
    assert person_data.visitors(open_view(folder))[text] == 0


def write_history(folder: Path, rows: list[tuple[int, int, float, int]]) -> None:
    write(folder / HISTORY, pa.table([list(c) for c in zip(*rows, strict=True)], schema=HISTORY_SCHEMA))


def test_real_and_simulated_shares(folder):
    write_history(folder, [(0, 1, 5.0, 30), (0, 2, 5.0, 20), (0, 3, 2.0, 10), (1, 4, 1.0, 0)])
    view = open_view(folder)
    real, seen = person_data.history(view, 0), person_data.shown(view, 0)
    assert real["item"].tolist() == [3, 2, 1]  # oldest first
    assert real["genres"].tolist() == ["Drama, Comedy", "Drama", "Drama, Comedy"]
    shares = person_data.rating_shares(real, seen, LEVELS)
    took = seen.loc[seen["watched"], "stars"].tolist()
    for row in shares.to_dict("records"):
        side = real["stars"].tolist() if row["who"] == person_data.REAL else took
        assert row["count"] == side.count(row["stars"])
        assert row["share"] == pytest.approx(side.count(row["stars"]) / len(side))
    assert shares["stars"].tolist() == [*LEVELS, *LEVELS]
    assert shares.groupby("who")["share"].sum().tolist() == pytest.approx([1, 1])
    genres = person_data.genre_shares(view, real, seen)
    mine = [genre for item in real["item"] for genre in ITEMS[item].genres]
    assert genres[genres["who"] == person_data.REAL].set_index("genre")["count"].to_dict() == Counter(mine)
    assert genres["genre"].tolist() == ["Drama"] * 2 + ["Comedy"] * 2  # commonest first
    for chart in (person_charts.ratings_chart(shares), person_charts.genres_chart(genres)):
        assert json.dumps(chart.to_dict())


def test_a_side_without_ratings_is_left_out(folder):
    view = open_view(folder)
    real, seen = person_data.history(view, 0), person_data.shown(view, 0)
    assert real.empty
    assert set(person_data.rating_shares(real, seen, LEVELS)["who"]) == {person_data.SIMULATED}
    assert set(person_data.genre_shares(view, real, seen)["who"]) == {person_data.SIMULATED}
    assert person_data.rating_shares(real, seen[:0], LEVELS).empty
    assert person_data.genre_shares(view, real, seen[:0]).empty


def test_a_run_that_has_not_begun(tmp_path):
    view = open_view(record(tmp_path / "new", [], people=2))
    assert person_data.shown(view, 0).empty
    assert person_data.memories(view, 0).empty
    assert person_data.history(view, 0).empty
    assert person_data.diary(view, 0).empty
    assert neighbourhood.neighbours(view, 0).empty
    assert person_data.measures(view.totals(), 0) == {}
    assert person_data.sessions(person_data.shown(view, 0)).empty


def test_memories_keep_their_order(folder):
    rows = [(0, 0, 0, 1.0, "fact", 0.5, NASTY), (1, 1, 0, 2.0, "heard", 0.1, "b"), (0, 0, 1, 3.0, "feeling", 1.0, "c")]
    table = pa.table([list(c) for c in zip(*rows, strict=True)], schema=MEMORY_SCHEMA)
    write(part_path(folder, MEMORIES, 0), table)
    frame = person_data.memories(open_view(folder), 0)
    assert frame["text"].tolist() == [NASTY, "c"]
    assert frame["step"].tolist() == [1, 2]
    assert "hour" in json.dumps(person_charts.memory_chart(frame, by_hour=True).to_dict())
    page = person_html.memory_rows(frame, ["now", "later"])
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_strips_link_pages_and_hold_no_markup_of_a_run(folder):
    view = open_view(folder)
    seen = person_data.shown(view, 2).assign(title=NASTY)
    text = person_html.strip(seen, [f"replay?page={page}&x='" for page in range(4)])
    assert text.count("<a ") == 4
    assert text.count("rs-cell watched") == seen["watched"].sum()
    assert text.count("rs-cell skipped") == (~seen["watched"]).sum()
    assert "<script" not in text
    assert "page=1&amp;x=&#x27;" in text
    for made in (
        person_html.headline(NASTY, NASTY, [NASTY]),
        person_html.pills([NASTY], "", "red"),
        person_html.titles([NASTY], ""),
        person_html.figure(NASTY, NASTY, NASTY, NASTY),
    ):
        assert "<script" not in made


def test_traits_say_their_level():
    found = person_data.traits(persona(2))
    assert [(t.name, t.level) for t in found] == [("activity", 3), ("conformity", 2), ("diversity", 3)]
    assert found[0].words == "rates very often"
    assert person_html.trait_card(found[1]).count("var(--simulated)") == 2
    assert person_data.about(persona(2)) == "22 · F"
    assert person_data.about(None) == ""


def write_society(folder: Path, links: list[tuple[int, int]], events: list[tuple[object, ...]]) -> None:
    write(folder / LINKS, pa.table([list(c) for c in zip(*links, strict=True)], schema=LINKS_SCHEMA))
    write(part_path(folder, EVENTS, 0), events_table(events))


def heard(who: int, author: int) -> tuple[object, ...]:
    return (0, 1.0, who, "hear", author, -1, 0.0, "hello", -1)


@pytest.fixture
def society(tmp_path: Path) -> Path:
    steps = steps_of([(s, s, 1) for s in range(5)], np.random.default_rng(1))
    return record(tmp_path / "town", [steps], people=6, llm="uniform", rounds=3)


def test_neighbours_by_messages_and_direction(society):
    links = [(0, 1), (1, 0), (0, 2), (3, 0), (1, 2), (2, 1), (4, 5), (0, 0)]
    write_society(society, links, [heard(0, 3), heard(0, 3), heard(1, 0), heard(0, 5), heard(2, 1)])
    view = open_view(society)
    near = neighbourhood.neighbours(view, 0)
    assert near[["other", "relation", "heard", "told"]].to_dict("split")["data"] == [
        [3, neighbourhood.FOLLOWED, 2, 0],
        [1, neighbourhood.FRIENDS, 0, 1],
        [2, neighbourhood.FOLLOWS, 0, 0],
    ]
    assert near["name"].tolist() == ["97", "99", "98"]
    drawn = neighbourhood.drawn(view, 0, near)
    assert drawn.people["other"].tolist() == [0, 3, 1, 2]
    assert (drawn.people[["x", "y"]].iloc[0] == 0).all()
    assert len(drawn.edges) == 4  # 0-1, 0-2, 0-3 and 1-2
    assert drawn.edges["mine"].sum() == 3
    assert json.dumps(neighbourhood.graph_chart(drawn).to_dict())


def test_a_large_neighbourhood_is_cut_and_readable(society):
    write_society(society, [(0, i) for i in range(1, 200)] + [(i, i + 1) for i in range(1, 199)], [])
    view = open_view(society)
    near = neighbourhood.neighbours(view, 0)
    assert len(near) == 199
    drawn, again = (neighbourhood.drawn(view, 0, near) for _ in range(2))
    assert len(drawn.people) == neighbourhood.MOST + 1
    assert drawn.people.equals(again.people)
    at = drawn.people[["x", "y"]].to_numpy()
    # On a drawing of 1,000 by 480 dots, no two marks are closer than a short label is high.
    at = (at - at.min(axis=0)) / (at.max(axis=0) - at.min(axis=0)) * [1_000, 480]
    gaps = np.sqrt(((at[:, None] - at[None]) ** 2).sum(axis=2))
    np.fill_diagonal(gaps, math.inf)
    assert gaps.min() > 16


def test_somebody_alone(society):
    view = open_view(society)
    near = neighbourhood.neighbours(view, 4)
    assert near.empty
    drawn = neighbourhood.drawn(view, 4, near)
    assert len(drawn.people) == 1
    assert drawn.edges.empty
