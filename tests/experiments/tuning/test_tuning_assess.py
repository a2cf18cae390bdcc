"""What a tuned model is asked to be assessed, and what genres and years alone know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsim_llm.data import Ratings
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.tuning.assessment.assess import AssessConfig, assess
from recsim_llm.experiments.tuning.assessment.content import fit_content
from recsim_llm.experiments.tuning.assessment.groups import COLD, Group, groups
from recsim_llm.experiments.tuning.assessment.measure import TunedAnswers
from recsim_llm.experiments.tuning.assessment.watching import BASELINES, POSITIVES, draw_watches, watch_finding
from recsim_llm.experiments.tuning.lessons import FEW, Watches
from recsim_llm.experiments.tuning.task import TuneConfig, TuningTask, make_task

WORLD = "synthetic:0:200"


@pytest.fixture(scope="module")
def task() -> TuningTask:
    return make_task(TuneConfig(dataset=WORLD, split="users", hold_items=0.2))


@pytest.fixture(scope="module")
def found(task: TuningTask) -> dict[str, Group]:
    return {group.name.split()[0]: group for group in groups(task, people=20, rows=5)}


def in_rows(watches: Watches) -> list[tuple[int, int]]:
    return list(zip(watches.users.tolist(), watches.items.tolist(), strict=True))


def pairs(ratings: Ratings) -> set[tuple[int, int]]:
    return set(zip(ratings.users.tolist(), ratings.items.tolist(), strict=True))


def test_nothing_that_is_asked_was_learned_told_or_stopped_the_tuning(
    task: TuningTask, found: dict[str, Group]
) -> None:
    assert set(found) == {"other", "items", "removed", "new"}
    for group in groups(task, 0, 0):
        assert pairs(group.asked)
        for part in (task.train, task.validation, group.told):
            assert not pairs(group.asked) & pairs(part)


def test_each_group_is_what_its_name_says(task: TuningTask) -> None:
    usual, cold, removed, few, new = groups(task, people=0, rows=0)
    counts = np.bincount(task.told.items, minlength=task.told.num_items)
    assert not task.held_items[usual.asked.items].any()
    assert (counts[cold.asked.items] <= COLD).all()
    assert task.held_items[removed.asked.items].all()
    assert (counts[removed.asked.items] == 0).all()
    assert task.held_items[few.asked.items].all()
    of_few = np.bincount(few.told.items, minlength=few.told.num_items)
    assert set(of_few[np.unique(few.asked.items)]) == {COLD}
    assert pairs(few.asked) | pairs(few.told) == pairs(removed.asked) | pairs(task.told)
    assert not task.learners[new.asked.users].any()
    of_new = np.bincount(new.told.users, minlength=new.told.num_users)[np.unique(new.asked.users)]
    assert (of_new <= FEW).all()


def test_people_and_rows_bound_what_is_asked(found: dict[str, Group]) -> None:
    for name in ("other", "new"):
        people, rows = np.unique(found[name].asked.users, return_counts=True)
        assert len(people) <= 20
        assert rows.max() <= 5


def test_what_was_not_rated_is_drawn_from_the_same_items_as_what_was(task: TuningTask, found: dict[str, Group]) -> None:
    rated = pairs(task.data.ratings)
    for group in found.values():
        watches = draw_watches(task.data, group)
        asked = set(in_rows(watches))
        positive = {pair for pair, yes in zip(in_rows(watches), watches.watched.tolist(), strict=True) if yes}
        assert positive <= pairs(group.asked)
        assert not (asked - positive) & rated
        assert np.isin(watches.items, group.asked.items).all()
        people, counts = np.unique(watches.users[watches.watched], return_counts=True)
        assert set(people) == set(group.asked.users)
        assert counts.max() <= POSITIVES
        assert abs(watches.watched.mean() - 0.5) < 0.1


def test_a_model_that_knows_who_rated_what_is_found_out(task: TuningTask, found: dict[str, Group]) -> None:
    """One that knows, and one that guesses."""
    group = found["other"]
    watches = draw_watches(task.data, group)
    levels = (~watches.watched).astype(np.int64)
    luck = np.random.default_rng(0).random(len(levels))
    for chance, least, most in ((0.1 + 0.8 * watches.watched, 1.0, 1.0), (luck, 0.3, 0.7)):
        pmf = np.stack([chance, 1 - chance], axis=1)
        finding = watch_finding(task.data, group, TunedAnswers(watches.users, watches.items, levels, pmf))
        assert least <= finding.auc["tuned"][0] <= most
        assert finding.over_all is not None
        assert (finding.over_all.nats > 0.1) == (least == 1.0)
    assert set(finding.auc) == {"tuned", *BASELINES}


def test_without_removals_there_is_less_to_assess() -> None:
    names = [group.name for group in groups(make_task(TuneConfig(dataset=WORLD, split="random")), 10, 5)]
    assert not any("removed" in name or "new people" in name for name in names)


def test_genres_and_years_know_items_that_nobody_rated(task: TuningTask) -> None:
    """Beside each person's mean alone; and shuffled genres know nothing."""
    removed = next(g.asked for g in groups(task, 0, 0) if "removed" in g.name)

    def error(catalogue) -> float:
        model = fit_content(task.told, catalogue)
        return float(np.mean((removed.values - model.stars(removed.users, removed.items)) ** 2))

    catalogue = task.data.catalogue
    order = np.random.default_rng(0).permutation(len(catalogue))
    mixed = tuple(replace(item, genres=catalogue[int(o)].genres) for item, o in zip(catalogue, order, strict=True))
    assert error(catalogue) < error(replace(catalogue, items=mixed)) - 0.01


def test_a_folder_without_a_tuned_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no tuned model"):
        assess(tmp_path, AssessConfig())
    (tmp_path / "tuning.json").write_text(json.dumps({"config": {"datset": "x"}}))
    with pytest.raises(ConfigError, match="damaged"):
        assess(tmp_path, AssessConfig())
    with pytest.raises(ConfigError, match="--people must be a whole number between 0 and"):
        assess(tmp_path, AssessConfig(people=-1))
