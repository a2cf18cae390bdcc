"""Logged visits become lessons: watched as often as in the log, left where people left, and nothing held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recsim_llm.agents.fitted_sources import held_sessions, statistical_parameters
from recsim_llm.agents.llm.page_agent import YES_NO
from recsim_llm.agents.statistical.impression_fit import impressions_of
from recsim_llm.agents.statistical.statistical_users import StatisticalUsers
from recsim_llm.data import load_dataset
from recsim_llm.data.dataset import Impressions
from recsim_llm.data.formats.folder import save_folder
from recsim_llm.environments.sessions import PageRules
from recsim_llm.experiments.simulation.rollout import rollout
from recsim_llm.experiments.tuning.lessons import Curriculum, Lesson
from recsim_llm.experiments.tuning.logged_visits import Visits
from recsim_llm.experiments.tuning.task import TuneConfig, TuningTask, make_task
from recsim_llm.policies import make_policy
from recsim_llm.runs import StepBatch
from recsim_llm.types import EMPTY

WORLD, PEOPLE = "synthetic:0:60", 60


@pytest.fixture(scope="module")
def log() -> Impressions:
    """Everybody visits three times and sees random pages of four, three at most."""
    data, users = load_dataset(WORLD), StatisticalUsers(statistical_parameters(WORLD))
    tables = []
    for seed in range(3):
        policy = make_policy("random", data.ratings, data.catalogue, 4, seed)
        rules = PageRules(page_size=4, max_pages=3)
        for batch in rollout(WORLD, users, policy, np.arange(PEOPLE), rules, seed, PEOPLE):
            tables.append(replace(batch, session=batch.session + PEOPLE * seed).to_table())
    s = StepBatch.from_table(pa.concat_tables(tables))
    return impressions_of(s.user, s.session, s.page, s.items, s.watched, s.ratings, s.left)


@pytest.fixture(scope="module")
def task(log: Impressions, tmp_path_factory) -> TuningTask:
    path = tmp_path_factory.mktemp("logged") / "world"
    save_folder(replace(load_dataset(WORLD), name="logged", impressions=log), path)
    return make_task(TuneConfig(dataset=str(path), split="users", hold_items=0.2))


@pytest.fixture(scope="module")
def lessons(task: TuningTask) -> list[Lesson]:
    curriculum = Curriculum(task.data, task.train, task.learners, exposure=task.exposure)
    return [lesson for epoch in range(8) for lesson in curriculum.epoch(epoch)]


def test_a_visit_is_the_beginning_of_a_logged_one(log: Impressions) -> None:
    visits, rng = Visits(log), np.random.default_rng(0)
    ended = {True: 0, False: 0, None: 0}
    for user in [*range(PEOPLE)] * 5:
        visit = visits.draw(rng, user)
        assert visit is not None
        first = visit.items[visit.items != EMPTY][0]
        sessions = np.unique(log.sessions[(log.users == user) & (log.pages == 0) & (log.items == first)])
        of = [log.take(log.sessions == session) for session in sessions]
        told = [rows.take(rows.pages < len(visit.items)) for rows in of]
        same = [
            n for n, rows in enumerate(told) if set(rows.items.tolist()) == set(visit.items.ravel().tolist()) - {EMPTY}
        ]
        assert len(same) == 1
        rows, whole = told[same[0]], of[same[0]]
        assert visit.watched.sum() == rows.watched.sum()
        left = bool(rows.left.any())
        at_end = rows.pages.max() == whole.pages.max()
        expected = None if at_end and not left else left
        assert visit.left is None if expected is None else visit.left == int(expected)
        ended[expected] += 1
    assert min(ended.values()) > 0


def test_without_exits_nobody_is_said_to_stay_or_leave(log: Impressions) -> None:
    visits, rng = Visits(replace(log, has_exits=False)), np.random.default_rng(0)
    assert all(visits.draw(rng, user).left is None for user in range(PEOPLE))
    assert visits.draw(rng, PEOPLE + 1) is None
    assert visits.shown(rng, PEOPLE + 1, np.zeros(0, dtype=np.int64), 3) == []


def test_what_is_left_out_does_not_change_how_much_is_watched(log: Impressions) -> None:
    """Half of what somebody watched is told, as in lessons; the rest is asked about at the old rate."""
    visits, rng = Visits(log), np.random.default_rng(0)
    asked = []
    for user in range(PEOPLE):
        mine = log.users == user
        watched = np.unique(log.items[mine & log.watched])
        for _ in range(20):
            told = rng.permutation(watched)[: len(watched) // 2]
            found = visits.shown(rng, user, told, 100)
            assert not {item for item, _ in found} & set(told.tolist())
            asked += [1 - no for _, no in found]
    assert np.mean(asked) == pytest.approx(log.watched.mean(), abs=0.02)


def test_nothing_that_is_held_out_is_learned_from(task: TuningTask) -> None:
    data, learned = task.data, task.exposure
    assert data.impressions is not None
    assert learned is not None
    held = np.unique(data.impressions.sessions[held_sessions(data.impressions)])
    assert not np.isin(learned.sessions, held).any()
    assert task.learners[learned.users].all()
    assert not task.held_items[learned.items].any()
    pairs = set(zip(learned.users.tolist(), learned.items.tolist(), strict=True))
    for part in (task.test, task.validation):
        assert not pairs & set(zip(part.users.tolist(), part.items.tolist(), strict=True))


def test_lessons_ask_who_leaves_after_what_they_saw(task: TuningTask, lessons: list[Lesson], log: Impressions) -> None:
    leaves = [(lesson, asked) for lesson in lessons for asked in lesson.asked if asked.item == EMPTY]
    assert len(leaves) > len(lessons) / 8
    assert all("Page 1" in lesson.context and asked.choices == YES_NO for lesson, asked in leaves)
    known = task.exposure
    assert known is not None
    pages = np.unique(np.stack([known.users, known.sessions, known.pages, known.left], axis=1), axis=0)
    last = np.append(np.diff(pages[:, 1]) != 0, True)
    pages = pages[(pages[:, 3] == 1) | ~last]  # after the others nobody knows
    of_person = np.bincount(pages[:, 0], pages[:, 3]) / np.maximum(np.bincount(pages[:, 0]), 1)
    people = np.unique(pages[:, 0])
    assert np.mean([1 - asked.level for _, asked in leaves]) == pytest.approx(of_person[people].mean(), abs=0.1)
    for lesson in lessons:
        for asked in lesson.asked:
            if asked.item != EMPTY:
                assert task.data.catalogue[asked.item].label not in lesson.context
