"""What the Replay shows of a session: against plain Python on runs written by hand, with texts that could do harm."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsim_llm.dashboard.replay import replay_context, replay_data, replay_html
from recsim_llm.dashboard.view import RunView, open_view
from recsim_llm.errors import RecordingError
from recsim_llm.runs import Manifest, StepBatch, write_catalogue
from recsim_llm.runs.calls import CallBatch
from recsim_llm.runs.events import events_table
from recsim_llm.runs.recorded_context import HISTORY, HISTORY_SCHEMA
from recsim_llm.runs.run import ASKED, CALLS, EVENTS, MEMORIES, STEPS, WHY, part_path
from recsim_llm.runs.step_notes import ASKED_SCHEMA, MEMORY_SCHEMA, WHY_SCHEMA
from recsim_llm.types import EMPTY, Completion, Item, Persona, Prompt

NASTY = "<script>alert(1)</script> **x** 😀 עברית " + "long " * 60
ITEMS = [Item(i, NASTY if i == 3 else f"Title {i}", 1990 + i if i else None, ("Drama",) * (i % 2)) for i in range(12)]
LEVELS = (1.0, 2.0, 3.0, 4.0, 5.0)
K, BATCH, PAGES = 3, 4, 3
KEYS = [bytes([number]) * 16 for number in range(4)]


def round_of(batch: int, page: int, rng: np.random.Generator) -> StepBatch:
    """A page of the four sessions of a batch; user 10 - session, and the last page cuts off sessions of odd number."""
    session = np.arange(batch * BATCH, batch * BATCH + BATCH)
    items = np.array([rng.permutation(len(ITEMS))[:K] for _ in session], dtype=np.int64)
    items[0, -1] = EMPTY
    watched = (rng.random((BATCH, K)) < 0.6) & (items != EMPTY)
    last = np.full(BATCH, page == PAGES - 1)
    return StepBatch(
        session=session,
        user=10 - session,
        page=np.full(BATCH, page),
        items=items,
        watch=rng.random((BATCH, K)),
        rating_probs=rng.dirichlet(np.ones(len(LEVELS)), (BATCH, K)),
        watched=watched,
        ratings=np.where(watched, rng.integers(1, 6, (BATCH, K)), 0).astype(np.float64),
        leave=rng.random(BATCH),
        left=last & (session % 2 == 0),
        truncated=last & (session % 2 == 1),
        reward=rng.random(BATCH),
        thoughts=tuple(f"{NASTY} of {number} at {page}" for number in session),
    )


def write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def rows(schema: pa.Schema, *values: tuple[object, ...]) -> pa.Table:
    return pa.table([list(column) for column in zip(*values, strict=True)], schema=schema)


def manifest(**changes: object) -> Manifest:
    names = {"name": "run", "dataset": "by hand", "dataset_checksum": "", "policy": "ease", "user_model": "agent4rec"}
    numbers = {"num_users": 8, "page_size": K, "rating_levels": LEVELS, "parts": 2 * PAGES, "seed": 0}
    rest = {"config": {"rounds": 0}, "versions": {}, "llm": "echo", "status": "finished"}
    return Manifest(**{**names, **numbers, **rest, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two batches of four sessions of three pages, a part a page; session 1 has scores, memories and calls."""
    rng = np.random.default_rng(0)
    manifest().write(tmp_path)
    for number, (batch, page) in enumerate((b, p) for b in range(2) for p in range(PAGES)):
        write(part_path(tmp_path, STEPS, number), round_of(batch, page, rng).to_table())
    write_catalogue(tmp_path, ITEMS, [str(item.id) for item in ITEMS])
    return tmp_path


def session_of(view: RunView, number: int) -> replay_data.Session:
    found = replay_data.session(view, replay_data.spans(view), number)
    assert found is not None
    return found


@pytest.mark.parametrize("number", range(2 * BATCH))
def test_a_session_is_what_was_recorded(folder, number):
    view = open_view(folder)
    slow, fast = view.run.session(number), session_of(view, number)
    assert fast.user == slow.user[0]
    assert [step.page for step in fast.steps] == slow.page.tolist()
    for at, step in enumerate(fast.steps):
        assert [card.item for card in step.cards] == slow.items[at].tolist()
        assert [card.watch for card in step.cards] == slow.watch[at].tolist()
        assert [list(card.rating_probs) for card in step.cards] == slow.rating_probs[at].tolist()
        assert [(card.watched, card.stars) for card in step.cards] == [
            *zip(slow.watched[at], slow.ratings[at], strict=True)
        ]
        assert (step.leave, step.left, step.truncated) == (slow.leave[at], slow.left[at], slow.truncated[at])
        assert (step.reward, step.thoughts) == (slow.reward[at], (slow.thoughts[at],))
        assert step.shown == (slow.items[at] != EMPTY).sum()
        assert step.watched == slow.watched[at].sum()
        assert [card.title for card in step.cards if card.item != EMPTY] == [
            ITEMS[item].title for item in slow.items[at] if item != EMPTY
        ]


def test_a_session_is_looked_for_in_its_own_parts_only(folder):
    """A damaged part of another batch does not matter: nobody opens it."""
    view = open_view(folder)
    places = replay_data.spans(view)
    assert places.parts_of(1) == (0, 2)
    assert places.parts_of(7) == (3, 5)
    assert places.last == 7
    assert places.parts_of(8) is None
    part_path(folder, STEPS, 5).write_bytes(b"damaged")
    assert replay_data.session(view, places, 1) is not None
    with pytest.raises(RecordingError):
        replay_data.session(view, places, 7)


def test_a_session_that_is_not_there_is_none(folder):
    view = open_view(folder)
    assert replay_data.session(view, replay_data.spans(view), 8) is None
    holes = replay_data.Spans(((0, 0, 9), (1, 2, 9)))
    assert replay_data.session(view, holes, 9) is None
    assert replay_data.Spans(()).last == -1


def test_scores_thoughts_and_memories_stand_at_their_page(folder):
    steps = round_of(0, 1, np.random.default_rng(1))
    why = [
        (int(s), int(u), 1, [0.5, math.nan, 2.0], f"plan {s}") for s, u in zip(steps.session, steps.user, strict=True)
    ]
    write(part_path(folder, WHY, 1), rows(WHY_SCHEMA, *why))
    memories = [
        (1, 9, 1, 8.0, "feeling", 0.25, NASTY),
        (1, 9, 1, 7.0, "fact", 0.5, "saw"),
        (2, 8, 1, 7.0, "fact", 1, "b"),
    ]
    write(part_path(folder, MEMORIES, 1), rows(MEMORY_SCHEMA, *memories))
    visit = session_of(open_view(folder), 1)
    assert [[card.score for card in step.cards] for step in visit.steps] == [[None] * 3, [0.5, None, 2.0], [None] * 3]
    assert [step.policy_thought for step in visit.steps] == ["", "plan 1", ""]
    assert [step.memories for step in visit.steps] == [
        (),
        (replay_data.ShownMemory("fact", 0.5, "saw"), replay_data.ShownMemory("feeling", 0.25, NASTY)),
        (),
    ]


def test_how_a_session_ended(folder):
    view = open_view(folder)
    assert replay_data.ending(session_of(view, 2), "finished") == "left after page 3"
    assert replay_data.ending(session_of(view, 1), "finished") == "cut off at the page limit, after page 3"
    open_one = replay_data.Session(2, 8, session_of(view, 2).steps[:2])
    assert replay_data.ending(open_one, "running") == "still going on"
    assert replay_data.ending(open_one, "interrupted") == "the recording stops after page 2"


def impressions(view: RunView, number: int, page: int) -> list[tuple[str, float, str]]:
    found = replay_context.known(view, session_of(view, number), page)
    return [(one.title, one.stars, one.source) for one in found]


def test_the_policy_knew_this_session_and_before_it_the_latest_real_ratings(folder):
    real = [(9, item, 1.0 + item % 5, 1_000 - 10 * item) for item in range(1, 12)] + [(8, 4, 2.0, 5_000)]
    write(folder / HISTORY, rows(HISTORY_SCHEMA, *real))
    view = open_view(folder)
    steps = view.run.session(1)
    for page in range(PAGES):
        mine = [
            (i, s) for at in range(page) for i, s in zip(steps.items[at], steps.ratings[at], strict=True) if i != EMPTY
        ]
        slow = [(view.title(item), stars, replay_context.THIS_SESSION) for item, stars in reversed(mine)]
        slow += [(view.title(item), 1.0 + item % 5, replay_context.REAL) for item in range(1, 12)]
        assert impressions(view, 1, page) == slow


def test_the_policy_looks_back_fifty_impressions_and_no_further(folder):
    write(folder / HISTORY, rows(HISTORY_SCHEMA, *((9, n % 12, 3.0, n) for n in range(80))))
    view = open_view(folder)
    assert len(impressions(view, 1, 0)) == replay_context.LATEST
    assert impressions(view, 1, 0)[0][0] == view.title(79 % 12)
    assert len([one for one in impressions(view, 1, 2) if one[2] == replay_context.REAL]) == 50 - 2 * K


def test_in_a_society_earlier_visits_are_known_and_elsewhere_not(folder):
    again = round_of(1, 0, np.random.default_rng(5))
    again.user[:] = 9
    write(part_path(folder, STEPS, 3), again.to_table())
    assert impressions(open_view(folder), 5, 0) == []
    manifest(config={"rounds": 3}).write(folder)
    view = open_view(folder)
    before = [view.run.session(1), again.take(again.session == 4)]
    pairs = [pair for steps in before for pair in zip(steps.items.reshape(-1), steps.ratings.reshape(-1), strict=True)]
    slow = [(view.title(item), stars, replay_context.EARLIER) for item, stars in reversed(pairs) if item != EMPTY]
    assert impressions(view, 5, 0) == slow
    assert replay_data.sessions_of(view, 9) == [1, 4, 5, 6, 7]


def test_people_are_found_by_the_names_of_the_data_set(folder):
    view = open_view(folder)
    assert [replay_data.user_named(view, name) for name in ("9", "x", "", "9" * 400)] == [9, None, None, None]
    rows_ = [{"raw_id": f"u{user}", **asdict(Persona(user, *[None] * 3, 1, 1, 1, *[()] * 4, 3.0))} for user in (8, 9)]
    (folder / "people.json").write_text(json.dumps(rows_))
    assert [replay_data.user_named(open_view(folder), name) for name in ("u9", "u8", "9")] == [9, 8, None]


def test_what_began_a_visit_is_in_the_diary(folder):
    assert replay_context.visit_of(open_view(folder), 1) is None
    diary = [(0, 2.5, 9, "hear", 3, 1, 4.0, "a word", 1), (0, 3.5, 9, "search", -1, -1, 0.0, NASTY, 1)]
    write(part_path(folder, EVENTS, 0), events_table(diary))
    assert replay_context.visit_of(open_view(folder), 1) == replay_context.RecordedVisit(3.5, "search", NASTY)


@pytest.fixture
def asked(folder: Path) -> Path:
    """Session 1 asks two labels, then a text, at page 1; the text was answered at page 0, for somebody else."""
    prompts = [Prompt("sys", "who", "q?"), Prompt("s", "", "rate", ("1", "2"), slots=2), Prompt("", "", "other")]
    logprobs = tuple(math.log(p) for p in (0.7, 0.1, 0.2, 0.5))
    answers = [Completion(NASTY, (), 5, 6), Completion("1 2", logprobs, 7, 8), Completion("", refused="too long")]
    for number, at in ((0, (0, 2)), (1, (1,))):
        batch = CallBatch(*(tuple(values[i] for i in at) for values in (KEYS, prompts, answers)))
        write(part_path(folder, CALLS, number), batch.to_table(number))
    write(part_path(folder, ASKED, 0), rows(ASKED_SCHEMA, (2, 8, 0, KEYS[0]), (1, 9, 0, KEYS[2])))
    write(part_path(folder, ASKED, 1), rows(ASKED_SCHEMA, (1, 9, 1, KEYS[1]), (1, 9, 1, KEYS[0]), (1, 9, 1, KEYS[1])))
    return folder


def test_prompts_of_a_page_are_found_where_they_were_first_answered(asked):
    view = open_view(asked)
    assert [replay_context.count_calls(view, page, 1, page) for page in range(PAGES)] == [1, 2, 0]
    labels, text = replay_context.calls(view, 1, 1, 1)
    assert (text.system, text.context, text.question, text.text, text.chances) == ("sys", "who", "q?", NASTY, ())
    assert (text.prompt_tokens, text.output_tokens) == (5, 6)
    assert [list(row) for row in labels.chances] == [["1", "2"]] * 2
    assert [p for row in labels.chances for p in row.values()] == pytest.approx([0.7, 0.1, 0.2, 0.5])
    (refused,) = replay_context.calls(view, 0, 1, 0)
    assert (refused.refused, refused.text) == ("too long", "")
    assert replay_context.calls(view, 2, 1, 2) == ()


def test_without_a_catalogue_items_are_numbered(folder):
    (folder / "catalogue.parquet").unlink()
    visit = session_of(open_view(folder), 1)
    assert {(card.title, card.year, card.genres) for step in visit.steps for card in step.cards} == {
        (f"item {card.item}", None, ()) for step in visit.steps for card in step.cards
    }


def card(**changes: object) -> replay_data.Card:
    probs = (0.1, 0.2, 0.3, 0.25, 0.15)
    values = {"item": 1, "title": "T", "year": 1999, "genres": ("Drama",), "score": 0.5, "watch": 0.42}
    return replay_data.Card(**{**values, "rating_probs": probs, "watched": True, "stars": 4.0, **changes})


def page_of(*cards: replay_data.Card) -> str:
    step = replay_data.Step(0, 0, cards, 0.2, False, False, 0.0, "", "", ())
    return replay_html.page(step, LEVELS)


def test_a_card_draws_its_probabilities_to_scale():
    html = page_of(card())
    assert "width: 42.0%" in html
    assert re.findall(r"height: ([0-9.]+)%", html) == ["20.0", "40.0", "60.0", "50.0", "30.0"]
    assert html.count("rp-level given") == 1
    assert "★★★★☆" in html
    assert "score 0.500" in html
    sure = page_of(card(rating_probs=(0.0, 0.0, 0.0, 0.0, 1.0), watched=False, stars=0.0, score=None))
    assert re.findall(r"height: ([0-9.]+)%", sure) == ["0.0"] * 4 + ["100.0"]
    assert "skipped" in sure
    assert "score" not in sure
    assert "given" not in sure
    assert "empty slot" in page_of(card(item=EMPTY))


def test_texts_of_a_run_never_become_markup():
    step = replay_data.Step(0, 0, (card(title=NASTY, genres=(NASTY,)),), 0.2, True, False, 0.0, (NASTY,), NASTY, ())
    memory = replay_data.ShownMemory("<b>", 0.5, NASTY)
    seen = replay_context.Impression(NASTY, 0.0, replay_context.REAL)
    pieces = (
        replay_html.page(step, LEVELS),
        replay_html.said(step.thoughts[0]),
        replay_html.memories([memory]),
        replay_html.impressions([seen]),
        replay_html.headline(1, NASTY, "person?run='><script>", [NASTY]),
        replay_html.leaving(step, NASTY),
    )
    for piece in pieces:
        assert "<script" not in piece
        assert "<b>x" not in piece
        assert "&lt;script&gt;" in piece
        assert "😀 עברית" in piece


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (0.001, "< 1 %"), (0.5, "50 %"), (0.994, "99 %"), (0.999, "> 99 %"), (1, "100 %")]
)
def test_a_probability_is_rounded_but_never_to_certainty(share, text):
    assert replay_html.percent(share) == text


@pytest.mark.parametrize(
    ("given", "top", "text"), [(3.0, 5.0, "★★★☆☆"), (3.5, 5.0, "★ 3.5 of 5"), (7.0, 10.0, "★ 7 of 10")]
)
def test_stars(given, top, text):
    assert text in replay_html.stars(given, (1.0, top))


@pytest.mark.parametrize(("score", "text"), [(0.24, "0.240"), (-3.5, "-3.500"), (12345.0, "1.23e+04"), (1e-5, "1e-05")])
def test_scores_are_short(score, text):
    assert replay_html.number(score) == text
