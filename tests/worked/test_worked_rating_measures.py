"""Measures of ratings, each with a value worked out on paper from its published definition."""

from __future__ import annotations

import numpy as np
import pytest

from recsim_llm.experiments.fidelity.measures.measures import (
    Measure,
    divergence_bits,
    draw_resamples,
    mean_of_rows,
    mean_of_users,
    ratio,
    split_half,
    within_user_auc,
)
from recsim_llm.experiments.fidelity.measures.rating_measures import (
    Predictions,
    calibration_error,
    histograms,
    human_ceilings,
    point_predictions,
    rating_measures,
    reliability,
    sample_measures,
    user_means,
)

STARS = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
EVEN = np.full(5, 0.2)

PINNED = [3, 4, 2, 2, 3, 3, 4, 0, 2, 2, 2, 2]
"""Levels drawn of twelve rows whose levels are equally likely."""


def predicted(levels: list[int], pmf: list[list[float]], users: list[int] | None = None) -> Predictions:
    """Distributions over five stars for rows of items 0, 1, ...; one person unless told otherwise."""
    chances, who = np.array(pmf), np.array(users or [0] * len(levels))
    items = np.arange(len(levels))
    return Predictions(who, items, np.array(levels), chances, chances @ STARS, STARS, int(who.max()) + 1)


def sure(levels: list[int], stars: list[float], users: list[int] | None = None) -> Predictions:
    """Single numbers, whose draws are certain."""
    who, items = np.array(users or [0] * len(levels)), np.arange(len(levels))
    return point_predictions(who, items, np.array(levels), np.array(stars), STARS, int(who.max()) + 1)


def value(p: Predictions, name: str, histogram: np.ndarray = EVEN) -> float:
    return rating_measures(p, histogram)[name].value


TWO_ROWS = predicted([2, 4], [[0.1, 0.2, 0.4, 0.2, 0.1], [0.0, 0.0, 0.0, 0.5, 0.5]])
"""Row A: a bell around 3 stars, and 3 it was. Row B: 4 or 5 stars, and 5 it was."""


def test_rps_of_five_levels() -> None:
    """Epstein 1969. A: CDF .1 .3 .7 .9 against 0 0 1 1: .01 + .09 + .09 + .01. B: 0 0 0 .5 against 0 0 0 0: .25."""
    assert value(TWO_ROWS, "rps") == pytest.approx((0.20 + 0.25) / 2)
    assert value(predicted([4], [[1, 0, 0, 0, 0]]), "rps") == pytest.approx(4.0)  # all four thresholds wrong
    assert value(predicted([0], [[1, 0, 0, 0, 0]]), "rps") == 0.0
    assert value(predicted([0], [[0, 0, 0, 0, 1]]), "rps") == pytest.approx(4.0)
    assert value(predicted([3], [[0, 0, 1, 0, 0]]), "rps") == pytest.approx(1.0)  # one level off: one threshold


def test_rps_skill_over_the_histogram() -> None:
    """Even histogram, CDF .2 .4 .6 .8: A .04 + .16 + .16 + .04 = .4, B .04 + .16 + .36 + .64 = 1.2. 1 - .45 / 1.6."""
    assert value(TWO_ROWS, "rps_skill") == pytest.approx(0.71875)
    assert value(predicted([1, 3], [EVEN.tolist()] * 2), "rps_skill") == pytest.approx(0.0)
    assert value(predicted([1, 4], [[0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]), "rps_skill") == 1.0


def test_log_loss_in_nats() -> None:
    """The chance of what happened was .4 and .5: -(ln .4 + ln .5) / 2. An impossible rating costs -ln 1e-12."""
    assert value(TWO_ROWS, "log_loss") == pytest.approx(0.804719, abs=1e-6)
    assert value(predicted([0], [[0, 0, 0, 0, 1]]), "log_loss") == pytest.approx(27.631021, abs=1e-6)
    assert "log_loss" not in rating_measures(sure([0], [1.0]), EVEN)  # single numbers have none


def test_liked_means_four_fifths_of_the_best_level() -> None:
    """4 and 5 of 5 stars; 4, 4.5 and 5 with half stars; 8, 9 and 10 of 10; of four levels the best alone."""
    for levels, liked in (
        (STARS, [4, 5]),
        (np.arange(0.5, 5.5, 0.5), [4, 4.5, 5]),
        (np.arange(1.0, 11.0), [8, 9, 10]),
        (np.arange(1.0, 5.0), [4]),
    ):
        none = np.zeros(0, dtype=np.int64)
        p = Predictions(none, none, none, np.zeros((0, len(levels))), np.zeros(0), levels, 1)
        assert levels[p.liked].tolist() == liked


def test_brier_of_liking() -> None:
    """Brier 1950. A: P(liked) .3, not liked: .09. B: 1, liked: 0."""
    assert value(TWO_ROWS, "brier") == pytest.approx(0.045)


def test_ece_with_two_bins() -> None:
    """Naeini et al. 2015. Bin .3-.4: .31 and .39, one of two; bin .8-.9: .85 three times, two of three.

    (2 x |.35 - .5| + 3 x |.85 - .6667|) / 5 = (.3 + .55) / 5.
    """
    chance, happened = np.array([0.31, 0.39, 0.85, 0.85, 0.85]), np.array([0.0, 1, 1, 1, 0])
    users = np.array([0, 1, 0, 1, 1])
    assert calibration_error(users, chance, happened, 2).value == pytest.approx(0.17)
    # .31 and .29 are in bins of their own: |.31 - 1| + |.29 - 0|, and not |.30 - .5| twice.
    apart = calibration_error(np.zeros(2, dtype=int), np.array([0.31, 0.29]), np.array([1.0, 0.0]), 1)
    assert apart.value == pytest.approx((0.69 + 0.29) / 2)
    # Certainty has the last bin, with .95: |.975 - .5|.
    last = calibration_error(np.zeros(2, dtype=int), np.array([1.0, 0.95]), np.array([1.0, 0.0]), 1)
    assert last.value == pytest.approx(0.475)
    assert value(TWO_ROWS, "ece") == pytest.approx(0.15)  # (|.3 - 0| + |1 - 1|) / 2


def test_auc_of_liking_with_a_tie() -> None:
    """Rank sum (Mann and Whitney 1947) over all rows: liked .9 .5, others .5 .2: three pairs and a half of four."""
    rows = [[0.1, 0, 0, 0.9, 0], [0.5, 0, 0, 0, 0.5], [0.5, 0, 0, 0.5, 0], [0.8, 0, 0, 0.2, 0]]
    assert value(predicted([3, 4, 2, 0], rows, [0, 0, 1, 1]), "auc_like") == pytest.approx(3.5 / 4)
    assert value(predicted([0, 1, 3, 3], rows, [0, 0, 1, 1]), "auc_like") == pytest.approx(0.5 / 4)
    assert value(predicted([3, 0, 3, 0], rows), "auc_like") == pytest.approx(3.5 / 4)


def test_rmse_and_mae_of_the_mean() -> None:
    """Errors 1, -1, 2 stars: sqrt(6 / 3), and 4 / 3."""
    p = sure([2, 3, 0], [4.0, 3.0, 3.0])
    assert value(p, "rmse_mean") == pytest.approx(1.414214, abs=1e-6)
    assert value(p, "mae_mean") == pytest.approx(4 / 3)
    assert value(TWO_ROWS, "rmse_mean") == pytest.approx(0.353553, abs=1e-6)  # means 3 and 4.5: errors 0 and .5


def test_pairs_in_order() -> None:
    """Anna: true 1 2 2 4, predicted 2 1 3 3: of five unequal pairs 3 and a tie. Ben: one pair, right. Cleo: no pair."""
    levels, stars = [0, 1, 1, 3, 2, 4, 2, 2], [2.0, 1, 3, 3, 4, 4.5, 1, 5]
    p = sure(levels, stars, [0, 0, 0, 0, 1, 1, 2, 2])
    assert value(p, "pairwise_order") == pytest.approx((0.7 + 1.0) / 2)
    assert value(sure([0, 4], [1.0, 2.0]), "pairwise_order") == 1.0
    assert value(sure([0, 4], [2.0, 1.0]), "pairwise_order") == 0.0


def test_points_fall_on_the_nearest_level() -> None:
    p = sure([0] * 6, [-3.0, 1.49, 1.51, 3.0, 4.49, 9.0])
    assert p.pmf.argmax(axis=1).tolist() == [0, 0, 1, 2, 3, 4]
    assert p.pmf.sum(axis=1).tolist() == [1.0] * 6
    assert p.mean.tolist() == [-3.0, 1.49, 1.51, 3.0, 4.49, 9.0]
    assert p.is_point
    uneven = point_predictions(
        np.zeros(2, dtype=int), np.arange(2), np.zeros(2, dtype=int), np.array([3.4, 3.6]), np.array([1.0, 2, 5]), 1
    )
    assert uneven.pmf.argmax(axis=1).tolist() == [1, 2]  # the middle of 2 and 5 is 3.5


def test_draws_follow_the_distribution() -> None:
    """20,000 draws: each share within four standard deviations of its chance."""
    chances = np.array([0.1, 0.2, 0.0, 0.3, 0.4])
    rows = np.arange(20_000)
    p = Predictions(
        rows % 7, rows, np.zeros_like(rows), np.tile(chances, (len(rows), 1)), np.zeros(len(rows)), STARS, 7
    )
    shares = np.bincount(p.drawn(), minlength=5) / len(rows)
    assert shares == pytest.approx(chances, abs=0.014)
    assert shares[2] == 0.0
    assert (p.drawn(1) != p.drawn()).mean() == pytest.approx(1 - 0.1**2 - 0.2**2 - 0.3**2 - 0.4**2, abs=0.015)
    # A row does not tell its item's luck to another person's.
    assert (p.drawn()[:-1] != p.drawn()[1:]).mean() == pytest.approx(0.7, abs=0.015)


def test_divergence_of_histograms() -> None:
    """Lin 1991. Drawn (.5, .5), real (1, 0), middle (.75, .25).

    KL(drawn) = .5 log2(2/3) + .5 log2 2 = .2075; KL(real) = log2(4/3) = .4150; half their sum.
    """
    p = sure([0, 0, 0, 0], [1.0, 1.0, 2.0, 2.0], [0, 0, 1, 1])
    assert value(p, "rating_jsd_bits") == pytest.approx(0.311278, abs=1e-6)
    assert divergence_bits(np.array([1.0, 0.0]), np.array([0.0, 7.0])) == 1.0


def test_earth_movers_distance() -> None:
    """Half of the ratings must move a star: .5. From 2 to 5 stars it is a longer way: 3 for all."""
    assert value(sure([0, 0, 0, 0], [1.0, 1.0, 2.0, 2.0]), "rating_emd") == pytest.approx(0.5)
    p = point_predictions(
        np.zeros(1, dtype=int), np.zeros(1, dtype=int), np.array([2]), np.array([2.0]), np.array([1.0, 2, 5]), 1
    )
    assert sample_measures(p)["rating_emd"].value == pytest.approx(3.0)


def test_spread_of_drawn_ratings() -> None:
    """Drawn 1 1 2 2: .5 stars; real 1 1 3 3: 1 star. The rounding error of equal ratings is no spread."""
    assert value(sure([0, 0, 2, 2], [1.0, 1.0, 2.0, 2.0]), "rating_sd_ratio") == pytest.approx(0.5)
    assert value(sure([0, 2, 0], [3.0] * 3), "rating_sd_ratio") == 0.0


def test_rmse_of_drawn_ratings() -> None:
    """Drawn 1 and 5 where 2 and 2 were given: sqrt((1 + 9) / 2)."""
    assert value(sure([1, 1], [1.0, 5.0]), "sampled_rmse") == pytest.approx(5**0.5)


def test_variance_between_persons() -> None:
    """Real means 1 and 5 (variance 4), simulated 2 and 4 (variance 1); four ratings of 5 stars do not count."""
    users = [0] * 5 + [1] * 5 + [2] * 4
    levels = [0] * 5 + [4] * 5 + [4] * 4
    assert value(sure(levels, [2.0] * 5 + [4.0] * 5 + [5.0] * 4, users), "between_user_variance_ratio") == 0.25
    # Anna's ratings are drawn from 1 and 3 stars: the mean of five varies by 1 / 5 besides, half of it in the mean.
    drawn = [[0.5, 0, 0.5, 0, 0]] * 5 + [[0, 0, 0, 1, 0]] * 5 + [[0, 0, 0, 0, 1]] * 4
    assert value(predicted(levels, drawn, users), "between_user_variance_ratio") == pytest.approx((1 + 0.1) / 4)


def test_constant_raters() -> None:
    """Anna gives one rating five times, Ben another once, Cleo has only four: one of two."""
    users, levels = [0] * 5 + [1] * 5 + [2] * 4, [3] * 5 + [3, 3, 4, 3, 3] + [0] * 4
    stars = [float(STARS[level]) for level in levels]
    p = sure([0] * 14, stars, users)
    assert value(p, "constant_raters") == 0.5
    assert human_ceilings(sure(levels, [1.0] * 14, users))["constant_raters"] == 0.5
    assert value(sure([0] * 5, [1.0, 5, 3, 3, 3]), "constant_raters") == 0.0
    assert value(sure([0] * 5, [1.0] * 5), "constant_raters") == 1.0
    assert value(sure([0] * 6, [5.0] * 6), "constant_raters") == 1.0


def test_ceilings_are_of_people_against_people() -> None:
    """Anna gives only 1 star, Ben only 5: their halves share nothing (1 bit), and are four stars apart."""
    ceilings = human_ceilings(sure([0, 0, 4, 4], [3.0] * 4, [0, 0, 1, 1]))
    assert ceilings["rating_jsd_bits"] == 1.0
    assert ceilings["rating_emd"] == 4.0
    assert (ceilings["rating_sd_ratio"], ceilings["between_user_variance_ratio"]) == (1.0, 1.0)
    assert np.isnan(ceilings["constant_raters"])
    same = human_ceilings(sure([0, 1, 0, 1], [3.0] * 4, [0, 0, 1, 1]))
    assert (same["rating_jsd_bits"], same["rating_emd"]) == (0.0, 0.0)


def test_the_reliability_curve() -> None:
    """P(liked) .3 and 1 in bins 4 and 10 of 10, each half of the rows; the others are empty."""
    curve = reliability(TWO_ROWS)
    empty = [None] * 3, [None] * 5
    assert curve["predicted"] == [*empty[0], pytest.approx(0.3), *empty[1], 1.0]
    assert curve["observed"] == [*empty[0], 0.0, *empty[1], 1.0]
    assert curve["share"] == [0, 0, 0, 0.5, 0, 0, 0, 0, 0, 0.5]
    # Two rows of .3, one of them liked, and two of nothing.
    curve = reliability(predicted([3, 0, 0, 0], [[0.35, 0.35, 0, 0.3, 0]] * 2 + [[1, 0, 0, 0, 0]] * 2))
    assert curve["predicted"][:4] == [0.0, None, None, pytest.approx(0.3)]
    assert curve["observed"][:4] == [0.0, None, None, 0.5]
    assert curve["share"][:4] == [0.5, 0, 0, 0.5]


def test_plots_of_one_row_and_of_none() -> None:
    one = sure([4], [5.0])
    assert reliability(one)["share"] == [0] * 9 + [1]
    assert reliability(one)["observed"][9] == 1.0
    assert histograms(one)["simulated"] == histograms(one)["real"] == [0, 0, 0, 0, 1]
    none = np.zeros(0, dtype=np.int64)
    nobody = Predictions(none, none, none, np.zeros((0, 5)), np.zeros(0), STARS, 2)
    assert reliability(nobody) == {"predicted": [None] * 10, "observed": [None] * 10, "share": [0] * 10}
    assert histograms(nobody)["real"] == [0] * 5
    assert user_means(nobody) == {"simulated": [], "real": []}
    assert np.isnan(rating_measures(nobody, EVEN)["auc_like"].value)


def test_draws_are_pinned() -> None:
    """What these rows draw, so that certificates of today can be compared with those of tomorrow."""
    rows = np.arange(12)
    p = Predictions(rows % 3, rows, 0 * rows, np.tile(EVEN, (12, 1)), np.zeros(12), STARS, 3)
    assert p.drawn().tolist() == PINNED
    assert p.drawn(0).tolist() == PINNED


@pytest.mark.parametrize("is_point", [False, True])
def test_measures_of_many_samples_are_those_of_each(is_point: bool) -> None:
    """A bootstrap combines the sums of all samples at once: each must have the value that it has alone."""
    rng = np.random.default_rng(4)
    users, levels = np.repeat(np.arange(9), 6), rng.integers(0, 5, 54)
    users = users[users != 8]  # the last person has no row
    levels, stars = levels[:48], rng.uniform(1, 5, 48)
    p = point_predictions(users, np.arange(48), levels, stars, STARS, 9)
    if not is_point:
        pmf = rng.dirichlet(np.ones(5), 48)
        p = Predictions(users, np.arange(48), levels, pmf, pmf @ STARS, STARS, 9)
    samples = draw_resamples(9, 3, 4)
    for name, measure in rating_measures(p, EVEN).items():
        with np.errstate(invalid="ignore", divide="ignore"):
            together = measure.combine(samples @ measure.sums)
            alone = [Measure(weights[:, None] * measure.sums, measure.combine).value for weights in samples]
        assert together.shape == (4,), name
        np.testing.assert_allclose(together, alone, rtol=1e-9, err_msg=name)
        assert len(measure.sums) == 9, name


def test_bars_and_means_for_the_plots() -> None:
    users = [0] * 5 + [1] * 4
    p = sure([0, 0, 0, 0, 4] + [4] * 4, [2.0, 2, 2, 2, 5] + [1.0] * 4, users)
    assert histograms(p)["levels"] == [1, 2, 3, 4, 5]
    assert histograms(p)["simulated"] == pytest.approx([4 / 9, 4 / 9, 0, 0, 1 / 9])
    assert histograms(p)["real"] == pytest.approx([4 / 9, 0, 0, 0, 5 / 9])
    assert user_means(p) == {"simulated": [2.6], "real": [1.8]}  # (4 x 2 + 5) / 5; Ben has four rows
    few = point_predictions(np.zeros(5, dtype=int), np.arange(5), np.zeros(5, dtype=int), np.full(5, 2.0), STARS, 3)
    assert histograms(few)["simulated"] == [0, 1, 0, 0, 0]
    assert user_means(few) == {"simulated": [2.0], "real": [1.0]}  # of three people two have no row


def test_sums_over_users() -> None:
    """Rows 1, 2 of Anna and 6 of Ben: 3 a row. Means 1.5 and 6: 3.75 a person; who has no value does not count."""
    assert mean_of_rows(np.array([0, 0, 1]), np.array([1.0, 2.0, 6.0]), 2).value == 3.0
    assert mean_of_users(np.array([1.5, 6.0, np.nan])).value == 3.75


def test_an_interval_of_two_people_enumerated() -> None:
    """Values 0 and 1: samples 00 01 10 11, means 0 .5 .5 1; 2.5 % and 97.5 % at places .075 and 2.925 of 0..3."""
    every = np.array([[2.0, 0], [1, 1], [1, 1], [0, 2]])
    assert mean_of_users(np.array([0.0, 1.0])).interval(every) == pytest.approx((0.0375, 0.9625))


def test_an_interval_is_shifted_by_the_bias_of_a_distance() -> None:
    """|mean - 1| of 0, 0, 3 is 0. Of the 27 samples 12 have it at 0, 14 at 1, one at 2: the median is 1 too high.

    Quantiles at places .65 and 25.35: 0 and 1.35. Less 1: -1, which no distance can be, so 0; and .35.
    """
    picks = np.array(np.meshgrid(*[range(3)] * 3)).reshape(3, -1).T
    every = np.array([[(pick == who).sum() for who in range(3)] for pick in picks], dtype=float)
    distance = Measure(np.array([[0.0, 1], [0, 1], [3, 1]]), lambda t: np.abs(ratio(t) - 1))
    assert distance.value == 0.0
    assert distance.interval(every) == pytest.approx((0.0, 0.35))


def test_resamples_draw_as_many_people_as_there_are() -> None:
    """Of two people both come in half of the samples, and nobody is preferred."""
    draws = draw_resamples(2, seed=1, resamples=4000)
    assert (draws.sum(axis=1) == 2).all()
    assert (draws[:, 0] == 1).mean() == pytest.approx(0.5, abs=0.04)
    assert draws[:, 0].mean() == pytest.approx(1.0, abs=0.05)
    assert draw_resamples(3).shape == (1000, 3)


def test_halves_are_of_people() -> None:
    """Of three people one is a half and two the other; the distance of means of 0, 0, 3 is 3 or 1.5 once in three."""
    values = np.array([[0.0, 1], [0, 1], [3, 1]])
    apart = split_half(values, lambda a, b: np.abs(ratio(a) - ratio(b)), draws=3000)
    assert apart == pytest.approx(3 / 3 + 2 * 1.5 / 3, abs=0.06)


def test_auc_within_a_person() -> None:
    found = within_user_auc(
        np.array([0, 0, 0, 0, 1, 1, 2]),
        np.array([0.8, 0.4, 0.6, 0.2, 0.5, 0.5, 1]),
        np.array([1.0, 1, 0, 0, 1, 0, 1]),
        3,
    )
    assert found[:2].tolist() == [0.75, 0.5]
    assert np.isnan(found[2])
