"""Lessons: no answer stands before its question, draws depend on nobody else, and what cannot be taught is refused."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from recsim_llm.agents.fitted_sources import Source, load_source
from recsim_llm.agents.personas.public_ratings import FEWEST, public_ratings
from recsim_llm.agents.population import make_population
from recsim_llm.data import Ratings
from recsim_llm.errors import ConfigError, DataError
from recsim_llm.experiments.tuning.lessons import ASKED, Curriculum, Lesson, held_lessons, personas_of
from recsim_llm.experiments.tuning.task import TuneConfig, TuningTask, make_task
from recsim_llm.testing.scripted import hash_choice_llm

WORLD = "synthetic:0:60"


@pytest.fixture(scope="module")
def task() -> TuningTask:
    return make_task(TuneConfig(dataset=WORLD, split="users", hold_items=0.2))


@pytest.fixture(scope="module")
def curriculum(task: TuningTask) -> Curriculum:
    return Curriculum(task.data, task.train, task.learners)


@pytest.fixture(scope="module")
def lessons(curriculum: Curriculum) -> list[Lesson]:
    return list(curriculum.epoch(0))


def test_nobody_and_nothing_that_is_held_out_is_taught(task: TuningTask, lessons: list[Lesson]) -> None:
    held = np.flatnonzero(~task.learners)
    assert 0 < len(held) < len(task.learners) / 2
    assert 0 < task.held_items.sum() < len(task.held_items) / 2
    assert not set(held.tolist()) & {lesson.user for lesson in lessons}
    rated = {asked.item for lesson in lessons for asked in lesson.asked if len(asked.choices) > 2}
    assert not rated & set(np.flatnonzero(task.held_items).tolist())
    pairs = {(lesson.user, asked.item) for lesson in lessons for asked in lesson.asked if len(asked.choices) > 2}
    for part in (task.test, task.validation):
        assert not pairs & set(zip(part.users.tolist(), part.items.tolist(), strict=True))


def test_the_answer_is_not_in_the_text_before_the_question(task: TuningTask, lessons: list[Lesson]) -> None:
    """Titles of this world are unique."""
    for lesson in lessons:
        for asked in lesson.asked:
            assert f"{task.data.catalogue[asked.item].label}:" not in lesson.context.replace("watched", "")


def test_a_lesson_depends_on_seed_epoch_and_person_alone(curriculum: Curriculum, task: TuningTask) -> None:
    some = curriculum.learners[[3, 1]]
    apart = [next(iter(curriculum.lessons(2, some[i : i + 1]))) for i in (0, 1)]
    assert list(curriculum.lessons(2, some)) == apart
    assert list(curriculum.lessons(3, some)) != apart
    other = Curriculum(task.data, task.train, task.learners, seed=1)
    assert list(other.lessons(2, some)) != apart


def test_rows_in_another_order_give_the_same_lessons(curriculum: Curriculum, task: TuningTask) -> None:
    """Questions may come in another order, since a question does not see the others."""
    shuffled = task.train.take(np.random.default_rng(0).permutation(len(task.train)))
    other = Curriculum(task.data, shuffled, task.learners)
    for one, two in zip(curriculum.epoch(1), other.epoch(1), strict=True):
        rated = [{a.item: a.level for a in lesson.asked if len(a.choices) > 2} for lesson in (one, two)]
        assert one.user == two.user
        assert rated[0] == rated[1]


def test_targets_are_distributions_that_lean_to_what_was_given(task: TuningTask, lessons: list[Lesson]) -> None:
    hard = {lesson.user: lesson for lesson in Curriculum(task.data, task.train, task.learners, teacher=0.0).epoch(0)}
    for lesson in lessons:
        assert 2 <= len([a for a in lesson.asked if len(a.choices) > 2]) <= ASKED
        for soft, given in zip(lesson.asked, hard[lesson.user].asked, strict=True):
            assert sum(soft.target) == pytest.approx(1.0)
            assert min(soft.target) >= 0.0
            assert given.target[given.level] == 1.0
            assert soft.target[soft.level] >= 0.5


def test_what_was_not_watched_was_never_rated(task: TuningTask, lessons: list[Lesson]) -> None:
    rated = set(zip(task.train.users.tolist(), task.train.items.tolist(), strict=True))
    watches = [(lesson.user, a) for lesson in lessons for a in lesson.asked if a.choices == ("Yes", "No")]
    assert {a.level for _, a in watches} == {0, 1}
    assert all(((user, a.item) in rated) == (a.level == 0) for user, a in watches)


def test_public_ratings_are_those_that_are_not_asked_about(task: TuningTask) -> None:
    lessons = list(Curriculum(task.data, task.train, task.learners, prompts="tuned-public").epoch(0))
    rated = [a.item for lesson in lessons for a in lesson.asked if len(a.choices) > 2]
    count = [np.bincount(items, minlength=len(task.held_items)) for items in (task.train.items, rated)]
    known = count[0] - count[1]
    told = {}
    for asked in (a for lesson in lessons for a in lesson.asked):
        found = re.search(r", \d\.\d stars by (\d+)", asked.question)
        told[asked.item] = int(found[1]) if found else 0
    assert all(people in (0, known[item]) for item, people in told.items())
    kept_back = [not people for item, people in told.items() if known[item] >= FEWEST]
    assert 0 < np.mean(kept_back) < 0.5, "the public rating of some items is kept back"


def test_agents_see_the_public_ratings_of_the_training_log(task: TuningTask) -> None:
    source = Source(WORLD, "random")
    texts = make_population(source, "llm:tuned-public", hash_choice_llm(0)).users.texts
    train = load_source(source)[1].train
    item = int(np.bincount(train.items).argmax())
    stars = train.values[train.items == item]
    for question in (texts.rate[item], texts.watch[item]):
        assert f", {stars.mean():.1f} stars by {len(stars)}." in question
    held = {a.item: a.question for lesson in held_lessons(task.data, task.told, task.validation) for a in lesson.asked}
    assert not any(" stars by " in question for question in held.values())


def test_an_item_with_too_few_ratings_has_no_public_rating() -> None:
    items = np.array([0, 0, 1, 1, 1])
    stars = np.array([1.0, 1.0, 2.0, 2.0, 5.0], dtype=np.float32)
    ratings = Ratings(np.arange(5), items, stars, np.zeros(5, dtype=np.int64), 5, 3)
    assert public_ratings(ratings) == {1: (3.0, 3)}


def test_held_questions_are_all_asked_once(task: TuningTask) -> None:
    asked = [
        (lesson.user, a.item)
        for lesson in held_lessons(task.data, task.told, task.validation, most=3)
        for a in lesson.asked
    ]
    wanted = zip(task.validation.users.tolist(), task.validation.items.tolist(), strict=True)
    assert sorted(asked) == sorted(wanted)


def test_personas_are_of_those_with_ratings(task: TuningTask) -> None:
    few = task.train.take(np.isin(task.train.users, [4, 7]))
    assert set(personas_of(task.data, few)) == set(np.unique(few.users).tolist())


def _ratings(task: TuningTask, stars: float, rows: int) -> Ratings:
    ratings = task.train.take(np.arange(rows))
    return replace(ratings, values=np.full(rows, stars, dtype=np.float32))


@pytest.mark.parametrize(
    ("rows", "says"), [(0, "there are no labels"), (3, "there are no labels"), (200, "one class only")]
)
def test_too_little_to_learn_is_said(task: TuningTask, rows: int, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Curriculum(task.data, _ratings(task, 3.0, rows), np.ones(60, dtype=np.bool_))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"split": "other"}, "--split"),
        ({"teacher": 1.5}, "--teacher"),
        ({"hold_items": -0.1}, "--hold-items"),
        ({"batch": 0}, "--batch"),
        ({"prompts": "page"}, "--prompts"),
        ({"max_hours": 0.0}, "--max-hours"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        replace(TuneConfig(), **options).check()  # type: ignore[arg-type]
