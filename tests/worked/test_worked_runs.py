"""Three recorded pages: what is left of a damaged run, and every measure of it by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from recsim_llm.dashboard.compare.compare_data import gini
from recsim_llm.errors import RecordingError
from recsim_llm.experiments.metrics import estimate, paired_difference, per_user, summarise
from recsim_llm.experiments.studies.study_measures import StudyShelf, coverage, reward_by_turn, session_values, survival
from recsim_llm.prompt_key import prompt_keys
from recsim_llm.runs.calls import CallBatch
from recsim_llm.runs.catalogue import write_catalogue
from recsim_llm.runs.manifest import Manifest
from recsim_llm.runs.recorded_context import save_people
from recsim_llm.runs.run import Run, part_path
from recsim_llm.runs.steps import StepBatch
from recsim_llm.runs.store import RunWriter, repair
from recsim_llm.types import EMPTY, Completion, Item, Persona, Prompt

NOW = Manifest(
    name="random", config={}, seed=0, versions={}, dataset="d", dataset_checksum="c", policy="random", user_model="llm",
    llm="fake", num_users=2, page_size=3, rating_levels=(1.0, 2.0, 3.0, 4.0, 5.0),
)  # fmt: skip


def steps(*rows):
    """Rows are (user, session, page, items, stars, left, truncated); the reward is the sum of the stars."""
    users, sessions, pages, items, stars, left, truncated = zip(*rows, strict=True)
    given, shown = np.array(stars, dtype=np.float64), np.array(items)
    return StepBatch(
        session=np.array(sessions), user=np.array(users), page=np.array(pages), items=shown,
        watch=np.full(shown.shape, 0.5), rating_probs=np.full((*shown.shape, 5), 0.2), watched=given > 0, ratings=given,
        leave=np.zeros(len(rows)), left=np.array(left), truncated=np.array(truncated), reward=given.sum(axis=1),
    )  # fmt: skip


# Person 0 sees five items on two pages, watches three (5, 3 and 2 stars) and leaves after the second; person 1 sees
# three, watches none, and is cut off after the first.
RUN = steps(
    (0, 0, 0, (0, 1, EMPTY), (5, 0, 0), False, False),
    (0, 0, 1, (2, 0, 4), (3, 0, 2), True, False),
    (1, 1, 0, (0, 1, 2), (0, 0, 0), False, True),
)


def calls(round_):
    prompt = Prompt("Be a person.", "You are number 0.", f"Page {round_}?")
    return CallBatch(tuple(prompt_keys("fake", [prompt])), (prompt,), (Completion(f"answer {round_}"),))


def page(round_):
    return steps((0, 0, round_, (0, 1, 2), (0, 0, 4), False, False))


def recorded(folder, parts=4, unfinished=False):
    """A run of so many parts, each with its calls, that was killed; `unfinished`: while the next one was computed."""
    writer = RunWriter.create(folder, NOW)
    for index in range(parts):
        writer.write_round(index, page(index), calls(index))
    if unfinished:
        writer.write_calls(parts, calls(parts))
    writer.interrupt("killed")
    return folder


def damage(folder, *places):
    for kind, index in places:
        path = part_path(folder, kind, index)
        path.write_bytes(path.read_bytes()[:-20])


def left_over(folder):
    return {kind: sorted(int(p.stem[-6:]) for p in (folder / kind).glob("*.parquet")) for kind in ("steps", "calls")}


@pytest.mark.parametrize(
    ("unfinished", "damaged", "steps_left", "calls_left", "aside"),
    [
        (False, [], [0, 1, 2, 3], [0, 1, 2, 3], []),
        # Without its answers a page could never be computed again: it goes with them.
        (False, [("calls", 3)], [0, 1, 2], [0, 1, 2], ["calls-part-000003", "steps-part-000003"]),
        (False, [("steps", 3)], [0, 1, 2], [0, 1, 2, 3], ["steps-part-000003"]),
        # Calls of a page that was never finished go alone.
        (True, [("calls", 4)], [0, 1, 2, 3], [0, 1, 2, 3], ["calls-part-000004"]),
        (True, [("calls", 3)], [0, 1, 2], [0, 1, 2, 4], ["calls-part-000003", "steps-part-000003"]),
    ],
)
def test_what_stays_of_a_damaged_run(tmp_path, unfinished, damaged, steps_left, calls_left, aside):
    folder = recorded(tmp_path / "run", unfinished=unfinished)
    damage(folder, *damaged)
    sentences = repair(folder)
    assert left_over(folder) == {"steps": steps_left, "calls": calls_left}
    assert sorted(path.name.partition(".")[0] for path in folder.glob("*.corrupt")) == sorted(aside)
    assert len(sentences) == len(aside)
    assert Run(folder).step_batch().page.tolist() == steps_left


@pytest.mark.parametrize(
    ("kind", "calls_left", "aside"),
    [
        # Damaged answers go with the steps of their round, which are computed again once the answers are asked for.
        ("calls", [0, 2, 3], ["calls-part-000001", "steps-part-000001"]),
        # Damaged steps go alone: their answers are there, and nothing is asked again.
        ("steps", [0, 1, 2, 3], ["steps-part-000001"]),
    ],
)
def test_damage_in_the_middle_leaves_a_hole_that_is_said_until_it_is_computed_again(tmp_path, kind, calls_left, aside):
    folder = recorded(tmp_path / "run")
    damage(folder, (kind, 1))
    with pytest.raises(RecordingError, match=f"{kind}/part-000001.parquet is damaged"):
        Run(folder).recorded_completions() if kind == "calls" else Run(folder).step_batch()
    assert len(repair(folder)) == len(aside)
    assert left_over(folder) == {"steps": [0, 2, 3], "calls": calls_left}
    assert sorted(path.name.partition(".")[0] for path in folder.glob("*.corrupt")) == aside
    answers = [one.text for one in Run(folder).recorded_completions().values()]
    assert answers == [f"answer {index}" for index in calls_left]
    with pytest.raises(RecordingError, match="steps/part-000001.parquet is missing"):
        Run(folder).step_batch()
    assert repair(folder) == (), "what is whole stays where it is"
    again = RunWriter.resume(folder, NOW)
    for index in range(4):
        again.write_round(index, page(index), None if index in calls_left else calls(index))
    again.finish({})
    assert left_over(folder) == {"steps": [0, 1, 2, 3], "calls": [0, 1, 2, 3]}
    assert Run(folder).step_batch().page.tolist() == [0, 1, 2, 3]
    answers = [one.text for one in Run(folder).recorded_completions().values()]
    assert answers == ["answer 0", "answer 1", "answer 2", "answer 3"]


def test_the_four_measures_of_two_people():
    found = summarise(RUN)
    # Watched 3 of 5 and 0 of 3; mean stars 10/3 and none; 2 pages and 1; rewards 10 and 0.
    assert per_user(RUN, "watch_rate")[1].tolist() == [0.6, 0.0]
    assert math.isclose(found["watch_rate"].value, 0.3)
    assert math.isclose(found["mean_rating"].value, 10 / 3)
    assert found["mean_rating"].n == 1
    assert found["session_length"].value == 1.5
    assert found["reward"].value == 5.0
    assert [found[name].value for name in ("users", "sessions", "pages")] == [2, 2, 3]


def test_a_second_visit_counts_as_one_and_people_count_alike():
    rows = (0, 7, 0, (3, 3, 3), (2, 0, 0), True, False)
    both = steps(
        (0, 0, 0, (0, 1, EMPTY), (5, 0, 0), False, False),
        (0, 0, 1, (2, 0, 4), (3, 0, 2), True, False),
        (1, 1, 0, (0, 1, 2), (0, 0, 0), False, True),
        rows,
    )
    # Person 0: 3 pages in 2 visits, reward 12 in 2, watched 4 of 8.
    assert per_user(both, "session_length")[1].tolist() == [1.5, 1.0]
    assert per_user(both, "reward")[1].tolist() == [6.0, 0.0]
    assert per_user(both, "watch_rate")[1].tolist() == [0.5, 0.0]


def test_a_comparison_is_the_mean_over_people_of_their_differences():
    # In the other run person 0 watches 1 of 3 for 4 stars, person 1 one of 2 for 5.
    other = steps(
        (0, 0, 0, (0, 1, 2), (4, 0, 0), True, False),
        (1, 1, 0, (0, 1, EMPTY), (0, 5, 0), True, False),
    )
    assert math.isclose(paired_difference(RUN, other, "watch_rate").value, ((1 / 3 - 0.6) + (0.5 - 0.0)) / 2)
    assert paired_difference(RUN, other, "reward").value == ((4 - 10) + (5 - 0)) / 2
    assert paired_difference(RUN, other, "session_length").value == ((1 - 2) + 0) / 2
    rating = paired_difference(RUN, other, "mean_rating")
    assert math.isclose(rating.value, 4 - 10 / 3)
    assert rating.n == 1, "person 1 rated nothing in the first run"


def test_an_interval_of_ones_and_zeros_is_that_of_a_binomial():
    # Of 400 people half have 1: standard error 0.025, so the 95 % interval is about 0.451 to 0.549.
    found = estimate(np.repeat([0.0, 1.0], 200))
    assert (found.value, found.n) == (0.5, 400)
    assert abs(found.low - 0.451) < 0.006
    assert abs(found.high - 0.549) < 0.006
    certain = estimate(np.full(10, 3.0))
    assert (certain.value, certain.low, certain.high) == (3.0, 3.0, 3.0)


# Item 0 comedy, 1 comedy and drama, 2 drama, 3 and 4 comedy; vectors at right angles, but 0 and 1 are alike.
GENRES = np.array([[1, 0], [1, 1], [0, 1], [1, 0], [1, 0]], dtype=bool)
VECTORS = np.array([[1.0, 0, 0], [2.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 3, 0]])
SHELF = StudyShelf(np.array([7, 3, 1, 0, 0]), 15, GENRES, VECTORS)


def test_the_long_term_measures_of_two_sessions():
    users, found = session_values(RUN, SHELF)
    assert users.tolist() == [0, 1]
    # The page that made person 0 leave pays 5 and is counted by EasyRL4Rec, not by BiLLP.
    assert found["length_counted"].tolist() == [2, 1]
    assert found["length_stayed"].tolist() == [1, 1]
    assert found["reward_counted"].tolist() == [10, 0]
    assert found["reward_stayed"].tolist() == [5, 0]
    assert found["at_cap"].tolist() == [0, 1]
    # Jaccard distances. Person 1: 0-1 1/2, 0-2 1, 1-2 1/2. Person 0 saw 0, 1, 2, 0, 4, of ten pairs:
    # 0-1 1/2, 0-2 1, 0-0 0, 0-4 0, 1-2 1/2, 1-0 1/2, 1-4 1/2, 2-0 1, 2-4 1, 0-4 0: 5 in all.
    assert found["genre_diversity"] == pytest.approx([5 / 10, 2 / 3])
    # Cosine distances. Person 1: 0-1 0, 0-2 1, 1-2 1. Person 0: 0, 1, 0, 1, 1, 0, 1, 1, 0, 1: 6 in all.
    assert found["vector_diversity"] == pytest.approx([6 / 10, 2 / 3])
    # Bits -log2((count + 1) / 16): 1, 2, 3, 4, 4.
    assert found["novelty"] == pytest.approx([(1 + 2 + 3 + 1 + 4) / 5, (1 + 2 + 3) / 3])
    # A tenth of five items is one: item 0. Person 0 saw it twice of five, which is one repetition of five.
    assert found["popular_share"] == pytest.approx([2 / 5, 1 / 3])
    assert found["repeat_share"] == pytest.approx([1 / 5, 0.0])


def test_measures_of_the_whole_run():
    assert coverage(RUN, 5) == 4 / 5  # all but item 3
    # Both got past the first turn (person 1 was cut off), nobody past the second.
    assert survival(RUN, 2).tolist() == [1.0, 1.0, 0.0]
    by_turn = reward_by_turn(RUN, 3)
    assert by_turn[:2].tolist() == [2.5, 5.0]
    assert np.isnan(by_turn[2])


def test_gini_by_hand():
    assert gini(np.array([2.0, 2, 2, 2])) == 0.0
    assert gini(np.array([0.0, 0, 8, 0])) == 0.75  # one of four takes all: 1 - 1/4
    # Of 1, 2 and 3 the nine differences are 0 0 0 1 1 1 1 2 2, their mean 8/9, half of it over the mean 2: 2/9.
    assert math.isclose(gini(np.array([3.0, 1, 2])), 2 / 9)


TITLES = [Item(i, f"Film {i}") for i in range(5)]
NAMES = ["m0", "m1", "m2", "m3", "m4"]


def persona(user):
    return Persona(user, None, None, None, 1, 1, 1, (), (), (), (), 3.0)


def written(folder, parts, finish=True):
    """A run of these parts, with titles and people `u0` and `u1`."""
    writer = RunWriter.create(folder, NOW)
    write_catalogue(folder, TITLES, NAMES)
    save_people(folder, [persona(0), persona(1)], ["u0", "u1"])
    for index, part in enumerate(parts):
        writer.write_round(index, part, None)
    if finish:
        writer.finish({})
    return Run(folder)


def rows_of(frame, *columns):
    return list(frame[list(columns)].itertuples(index=False, name=None))


def test_a_run_as_tables(tmp_path):
    # A third session: person 0 comes back, sees one item, watches it, gives 4 stars, and is cut off.
    again = steps((0, 2, 0, (3, EMPTY, EMPTY), (4, 0, 0), False, True))
    first, second, third = RUN.take(np.array([0, 2])), RUN.take(np.array([1])), again
    run = written(tmp_path, (first, second, third))
    shown = run.steps()
    assert rows_of(shown, "session", "user_id", "page", "slot", "item_id", "title", "watched", "page_reward") == [
        (0, "u0", 0, 0, "m0", "Film 0", True, 5.0),
        (0, "u0", 0, 1, "m1", "Film 1", False, 5.0),
        (0, "u0", 1, 0, "m2", "Film 2", True, 5.0),
        (0, "u0", 1, 1, "m0", "Film 0", False, 5.0),
        (0, "u0", 1, 2, "m4", "Film 4", True, 5.0),
        (1, "u1", 0, 0, "m0", "Film 0", False, 0.0),
        (1, "u1", 0, 1, "m1", "Film 1", False, 0.0),
        (1, "u1", 0, 2, "m2", "Film 2", False, 0.0),
        (2, "u0", 0, 0, "m3", "Film 3", True, 4.0),
    ]
    assert shown["rating"].dropna().tolist() == [5, 3, 2, 4]
    assert run.steps_arrow().num_rows == len(shown) == 9
    sessions = run.sessions()
    assert rows_of(sessions, "session", "user_id", "pages", "shown", "watched", "stars", "reward") == [
        (0, "u0", 2, 5, 3, 10, 10),
        (1, "u1", 1, 3, 0, 0, 0),
        (2, "u0", 1, 1, 1, 4, 4),
    ]
    assert rows_of(sessions, "left", "truncated") == [(True, False), (False, True), (False, True)]
    people = run.users()
    assert rows_of(people, "user", "user_id", "sessions", "pages", "shown", "watched", "stars", "reward") == [
        (0, "u0", 2, 3, 6, 4, 14, 14),
        (1, "u1", 1, 1, 3, 0, 0, 0),
    ]
    # What `recsim-llm compare` prints: reward a session is (14/2 + 0/1) / 2 = 3.5, watched (4/6 + 0/3) / 2 = 1/3.
    found = summarise(run.step_batch())
    assert (people["reward"] / people["sessions"]).mean() == found["reward"].value == 3.5
    assert (people["watched"] / people["shown"]).mean() == found["watch_rate"].value == pytest.approx(1 / 3)
    assert len(sessions) == found["sessions"].value == 3
    assert sessions["reward"].sum() == people["reward"].sum() == 14


def test_tables_of_a_run_that_is_being_written(tmp_path):
    run = written(tmp_path, (RUN.take(np.array([0, 2])),), finish=False)
    assert rows_of(run.sessions(), "session", "pages", "left", "truncated") == [
        (0, 1, False, False),  # goes on
        (1, 1, False, True),
    ]


def test_tables_of_a_society_that_nobody_visited_are_empty(tmp_path):
    run = written(tmp_path, ())
    for table, columns in ((run.steps(), 14), (run.sessions(), 10), (run.users(), 8)):
        assert table.shape == (0, columns)
        assert table.get("reward", table.get("page_reward")).sum() == 0


def test_a_run_without_people_and_titles_has_empty_names(tmp_path):
    writer = RunWriter.create(tmp_path, NOW)
    writer.write_round(0, page(0), None)
    assert set(Run(tmp_path).steps()[["user_id", "item_id", "title"]].to_numpy().ravel()) == {""}
    assert Run(tmp_path).users()["user_id"].tolist() == [""]


@pytest.mark.parametrize("table", ["steps", "sessions", "users"])
def test_tables_of_a_damaged_run_name_the_file(tmp_path, table):
    run = written(tmp_path, (page(0), page(1)))
    (tmp_path / "people.json").write_text("[")
    with pytest.raises(RecordingError, match=r"people\.json cannot be read"):
        getattr(run, table)()
    damage(tmp_path, ("steps", 1))
    with pytest.raises(RecordingError, match=r"steps/part-000001\.parquet is damaged"):
        getattr(run, table)()


def test_a_run_reads_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = written(Path("runs/mine/random"), (page(0),))
    assert repr([run]) == "[Run('runs/mine/random', policy='random', users='2 x llm', dataset='d', status='finished')]"
