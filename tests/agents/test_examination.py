"""The position-based model: slots and level are found again, whatever the level, and nobody gets a bias he has not."""

import numpy as np
import pytest
from scipy.special import expit

from recsim_llm.agents.statistical.examination import FittedExamination, examined, fit_examination

SLOTS = np.array([1.0, 0.7, 0.5, 0.3, 0.3])


def choices(seed: int, slots: np.ndarray, level: float, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-odds that lack the level, slots, and what was watched."""
    rng = np.random.default_rng(seed)
    odds, places = rng.normal(-1, 1, count), rng.integers(0, len(slots), count)
    return odds, places, (rng.random(count) < slots[places] * expit(odds + level)).astype(np.float64)


def fits(level: float, repeats: int = 60, count: int = 4000) -> list[FittedExamination]:
    return [fit_examination(*choices(seed, SLOTS, level, count)) for seed in range(repeats)]


@pytest.mark.parametrize("level", [0.0, 0.7])
def test_standard_errors_are_the_spread_of_repeated_logs(level: float) -> None:
    found = fits(level)
    slots, levels = np.array([f.probability for f in found]), np.array([f.level for f in found])
    errors = np.array([f.errors for f in found]).mean(axis=0)
    spread = np.append(slots[:, 1:].std(axis=0), levels.std())
    told = np.append(errors[1:], np.mean([f.level_error for f in found]))
    np.testing.assert_allclose(spread / told, 1.0, atol=0.3)  # 60 repeats know a spread to 9 %
    np.testing.assert_allclose(slots.mean(axis=0), SLOTS, atol=0.02)
    assert levels.mean() == pytest.approx(level, abs=0.05)


def test_the_most_examined_slot_need_not_be_the_first() -> None:
    slots = np.array([0.4, 1.0, 0.6])
    found = fit_examination(*choices(0, slots, 0.0, 20_000))
    assert found.probability[1] == 1.0
    assert found.errors[1] == 0.0
    assert (np.abs(found.probability - slots) <= 3 * found.errors).all()


def test_people_without_position_bias_get_none() -> None:
    found = fit_examination(*choices(0, np.ones(6), 0.0, 40_000))
    assert found.probability.min() > 0.93
    assert abs(found.level) < 0.1


def test_what_is_watched_at_the_fit_is_what_was_watched() -> None:
    odds, places, watched = choices(1, SLOTS, -1.0, 20_000)
    found = fit_examination(odds, places, watched)
    chance = found.probability[places] * expit(odds + found.level)
    for slot in range(len(SLOTS)):
        assert chance[places == slot].mean() == pytest.approx(watched[places == slot].mean(), rel=0.02)


def test_slots_hardly_shown_have_no_probability_of_their_own() -> None:
    odds, places, watched = choices(2, SLOTS, 0.0, 6000)
    rare = np.where(np.arange(6000) < 5, 0, places + 1)  # slot 0 five times, all of them watched
    rare[5:10] = 9
    found = fit_examination(odds, rare, np.where(rare == 0, 1.0, watched))
    assert len(found.probability) == 6
    assert found.probability[0] == found.probability[1] == 1.0
    np.testing.assert_allclose(found.probability[1:], SLOTS, atol=0.15)


def test_a_slot_where_nothing_is_watched_is_nearly_never_examined() -> None:
    odds, places, watched = choices(3, SLOTS, 0.0, 4000)
    found = fit_examination(odds, places, np.where(places == 4, 0.0, watched))
    assert 0.0 < found.probability[4] < 0.01


def test_no_slot_effect_changes_no_bit() -> None:
    watch = np.random.default_rng(0).random((3, 4))
    assert examined(watch, np.zeros(0)) is watch


def test_slots_beyond_the_last_take_the_last() -> None:
    watch = np.random.default_rng(0).random((3, 4))
    expected = watch * np.array([1.0, 0.5, 0.5, 0.5])
    np.testing.assert_array_equal(examined(watch, np.array([1.0, 0.5])), expected)
