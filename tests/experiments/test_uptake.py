"""What interventions did to their items: known effects are found, none is not, and permuted links carry nothing."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from recsim_llm.cli.verbs.runs.compare_command import compare_runs
from recsim_llm.data import load_dataset
from recsim_llm.experiments.metrics import Estimate
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.interventions.uptake import (
    NEVER,
    Arm,
    lines,
    measure,
    permuted,
    placebos,
    read_arm,
    spread,
    uptakes,
    verdict,
)
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.runs import Run

NAMES = ("run", "run-control")
PEOPLE, ROUNDS = 60, 4


def arm(impressions, members=4, rounds=ROUNDS, told=(), links=(), popularity=(9, 9, 8, 8, 7, 7, 2)) -> Arm:
    """From rows (round, person, item, watched, expected stars)."""
    columns = list(zip(*impressions, strict=True)) if impressions else [()] * 5
    number, user, item = (np.array(column, dtype=np.int64) for column in columns[:3])
    return Arm(
        np.arange(members) * 10,
        rounds,
        number,
        user,
        item,
        np.array(columns[3], dtype=np.bool_),
        np.array(columns[4], dtype=np.float64),
        np.array(told, dtype=np.int64).reshape(-1, 3),
        np.array(links, dtype=np.int64).reshape(-1, 2),
        np.array(popularity),
        [f"Title {i}" for i in range(len(popularity))],
    )


def test_worked_uptake_of_four_people():
    """Item 0 from round 2: persons 0 and 1 watch it here, person 1 also in the control arm, person 3 before."""
    here = arm([(2, 0, 0, True, 4.0), (3, 1, 0, True, 4.0), (3, 2, 0, False, 2.0), (1, 3, 0, True, 5.0)])
    there = arm([(4, 1, 0, True, 3.0), (3, 2, 0, False, 3.0)])
    found = measure(here, there, 0, 2, {0}, NAMES, "advert")
    np.testing.assert_array_equal(found.curves[0], [0, 0.25, 0.5, 0.5])
    np.testing.assert_array_equal(found.curves[1], [0, 0, 0, 0.25])
    assert found.difference.value == 0.25  # of persons 1, 0, 0, 0
    assert found.placebo.value == 0.0
    reached, unreached = found.opinions
    assert np.isnan(reached.since.value)
    assert unreached.since.value == pytest.approx((4 + 4 + 2) / 3)
    assert unreached.before.value == 5.0
    assert (unreached.against.value, unreached.against.n) == (0.0, 2)  # +1 of person 1, -1 of person 2


def test_an_opinion_shift_of_those_whom_words_reached():
    before = [(1, person, 0, False, 3.0) for person in range(4)]
    after = [(3, person, 0, True, 4.5 if person < 3 else 3.0) for person in range(4)]
    here = arm(before + after, told=[(2, person, 0) for person in range(3)] + [(1, 3, 0), (2, 3, 1)])
    found = measure(here, arm(before), 0, 2, {0}, NAMES, "post")
    reached, unreached = found.opinions
    assert (reached.shift.value, reached.shift.n, verdict(reached.shift)) == (1.5, 3, "rises")
    assert (unreached.shift.value, unreached.shift.n, verdict(unreached.shift)) == (0.0, 1, "cannot tell")


def test_placebos_are_the_nearest_in_popularity_and_nothing_is_done_to_them():
    assert placebos(arm([]), 0, {0, 2}) == [1, 3, 4, 5, 6]


def drawn(rate: float, seed: int) -> Arm:
    """Everybody is shown items 0 to 6 each round; item 0 is watched at this rate, the others at 10 %."""
    rng = np.random.default_rng(seed)
    rows = [(r, p, i) for r in range(1, ROUNDS + 1) for p in range(PEOPLE) for i in range(7)]
    return arm([(r, p, i, bool(rng.random() < (rate if i == 0 else 0.1)), 3.0) for r, p, i in rows], members=PEOPLE)


def test_a_strong_effect_is_found_and_none_is_not():
    """Doses: 10 % a round against 50 %, and against 10 % with other luck, twenty times."""
    control = drawn(0.1, 0)
    strong = measure(drawn(0.5, 1), control, 0, 1, {0}, NAMES, "advert")
    assert verdict(strong.difference) == verdict(strong.beyond) == "rises"
    assert verdict(strong.placebo) == "cannot tell"
    nothing = [measure(drawn(0.1, 2 + n), drawn(0.1, 100 + n), 0, 1, {0}, NAMES, "advert") for n in range(20)]
    told = [verdict(one.difference) for one in nothing]
    assert told.count("cannot tell") >= 17  # 95 % intervals: 19 in the mean
    same = measure(control, control, 0, 1, {0}, NAMES, "advert")
    assert same.difference == Estimate(0.0, 0.0, 0.0, PEOPLE)
    assert verdict(same.difference) == "cannot tell"


def ring(people: int = 100) -> np.ndarray:
    """Everybody is linked to the two beside them on either side."""
    one = np.arange(people)
    return np.concatenate([np.column_stack([one, (one + step) % people]) for step in (-2, -1, 1, 2)])


def test_what_spreads_from_friend_to_friend_follows_links():
    """One person begins; who has a friend who watched does the same the next round, nobody else ever does."""
    first = np.full(100, NEVER)
    first[50] = 1
    for step in range(1, 9):
        first[50 - 2 * step : 50 + 2 * step + 1] = np.minimum(first[50 - 2 * step : 50 + 2 * step + 1], step + 1)
    found = spread(first, ring(), 1, 9)
    assert (found.exposed, found.verdict) == (1.0, "follows links")
    assert found.others < 0.01


def test_with_permuted_links_it_does_not_follow_links():
    """The same rounds of watching, links that mean nothing: of ten, half a one is found by chance."""
    rng = np.random.default_rng(3)
    first = np.where(rng.random(100) < 0.6, rng.integers(1, 9, 100), NEVER)
    told = [spread(first, permuted(ring(), np.random.default_rng(n)), 1, 9, n).verdict for n in range(10)]
    assert told.count("cannot tell") >= 8


@pytest.mark.parametrize("first", [np.full(100, NEVER), np.full(100, 1)], ids=["nobody", "everybody at once"])
def test_spread_cannot_tell_where_there_is_no_spread(first):
    assert spread(first, ring(), 1, 9).verdict == "cannot tell"
    assert spread(first, ring()[:0], 1, 9).verdict == "cannot tell"


def test_permuted_links_keep_both_degrees():
    links = np.random.default_rng(0).integers(0, 30, (200, 2))
    links = np.unique(links[links[:, 0] != links[:, 1]], axis=0)
    again = permuted(links, np.random.default_rng(1))
    for end in (0, 1):
        np.testing.assert_array_equal(np.sort(again[:, end]), np.sort(links[:, end]))
    assert (again[:, 0] != again[:, 1]).all()
    assert len(np.unique(again, axis=0)) == len(links)
    assert not np.array_equal(again, links)


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """An advert of a much liked item, in an arm and beside its control arm."""
    folder = tmp_path_factory.mktemp("town")
    data = load_dataset("synthetic")
    item = int(np.bincount(data.ratings.items, data.ratings.values).argmax())
    (folder / "plan.toml").write_text(f'[[advert]]\nround = 2\nuntil = 6\nitem = "{data.catalogue.raw_ids[item]}"\n')
    config = SimulationConfig(policies=("random",), users=80, rounds=6, pages=2, page_size=4, graph="homophily:8")
    return simulate(replace(config, interventions=str(folder / "plan.toml")), folder / "runs", progress=False)


def test_an_advert_that_everybody_sees_is_taken_up(town):
    (found,) = uptakes(town)
    assert (found.kind, found.since, found.arm, found.control) == ("advert", 2, "random", "random-control")
    assert verdict(found.difference) == verdict(found.beyond) == "rises"
    read = read_arm(town[0])
    assert read.members.shape == (80,)
    assert set(read.round.tolist()) <= set(range(1, 7))
    shown = read.round[read.item == read.item[read.round == 2][0]]
    assert len(shown)
    assert uptakes(town[1:]) == []  # the control arm alone: nothing was done to it
    assert uptakes(town[:1]) == []  # without a control arm there is nothing to compare with


def test_an_interrupted_run_counts_the_round_it_was_in(town, tmp_path):
    """Its visits are in no diary yet: they are of the round after the last one that is."""
    folder = tmp_path / "random"
    shutil.copytree(town[0].folder, folder)
    whole = read_arm(town[0])
    sorted((folder / "events").iterdir())[-1].unlink()
    cut = read_arm(Run(folder))
    np.testing.assert_array_equal(cut.round, whole.round)
    np.testing.assert_array_equal(cut.first_watched(3, 1), whole.first_watched(3, 1))


def test_compare_prints_it_and_writes_it(town, tmp_path, capsys):
    compare_runs([run.folder for run in town], tmp_path / "report.md")
    told, report = capsys.readouterr().out, (tmp_path / "report.md").read_text("utf-8")
    (found,) = uptakes(town)
    for line in lines(found):
        assert line in told
        assert line in report
    assert "rises" in told
    assert "| 6 |" in report
    compare_runs([town[0].folder])
    assert "uptake" not in capsys.readouterr().out
