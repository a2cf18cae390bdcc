"""Every gate of the certificate at its limit and on each side of it."""

from __future__ import annotations

import pytest

from recsim_llm.certificate import FAIL, NOT_MEASURABLE, PASS, Metric
from recsim_llm.experiments.fidelity.certificate_gates import GATES, judged


@pytest.mark.parametrize(
    ("name", "passing", "failing"),
    [
        # at least the bar, here .2
        ("rps_skill", [0.2, 0.21], [0.1999]),
        ("auc_like", [0.2, 0.9], [0.1999]),
        ("pairwise_order", [0.2], [0.1]),
        ("discrimination_popmatched_auc", [0.2], [0.1]),
        # at most the bar
        ("rps", [0.2, 0.1], [0.2001]),
        ("log_loss", [0.2, 0.1], [0.2001]),
        ("brier", [0.2, 0.1], [0.2001]),
        ("rmse_mean", [0.2, 0.1], [0.2001]),
        ("mae_mean", [0.2, 0.1], [0.2001]),
        # better than the floor, here .3: equal is not better
        ("sampled_rmse", [0.2999], [0.3, 0.31]),
        ("watch_log_loss", [0.2999], [0.3, 0.31]),
        ("constant_raters", [0.2999], [0.3, 0.31]),
        ("popularity_jsd_bits", [0.2999], [0.3]),
        ("genre_jsd_bits", [0.2999], [0.3]),
        ("genre_user_jsd_bits", [0.2999], [0.3]),
        ("exposure_auc", [0.3001], [0.3, 0.2]),
        ("discrimination_uniform_1_f1", [0.3001], [0.3, 0.2]),  # not listed: above the floor
        # at most five times the ceiling, here .01
        ("rating_jsd_bits", [0.05, 0.0], [0.0501]),
        ("rating_emd", [0.05, 0.0], [0.0501]),
        # numbers
        ("ece", [0.03, 0.0], [0.0301]),
        ("watch_ece", [0.03, 0.0], [0.0301]),
        ("slot_curve_gap", [0.1], [0.1001]),
        ("session_length_ks", [0.05], [0.0501]),
        ("tester_pairs", [0.95, 1.0], [0.9499]),
        ("incremental_p", [0.0099], [0.01, 0.5]),
        ("incremental_watch_p", [0.0099], [0.01]),
        # bands
        ("rating_sd_ratio", [0.9, 1.0, 1.1], [0.8999, 1.1001]),
        ("between_user_variance_ratio", [0.8, 1.0, 1.2], [0.7999, 1.2001]),
        # a share of the ceiling
        ("naming_ids_auc", [0.0091], [0.0089]),
        ("naming_invented_auc", [0.0096], [0.0094]),
    ],
)
def test_a_gate_at_its_limit_and_on_each_side(name: str, passing: list[float], failing: list[float]) -> None:
    def verdict(found: float) -> str:
        return judged(name, Metric(found, floor=0.3, bar=0.2, ceiling=0.01)).verdict

    assert [verdict(x) for x in passing] == [PASS] * len(passing)
    assert [verdict(x) for x in failing] == [FAIL] * len(failing)
    assert judged(name, Metric(None, floor=0.3, bar=0.2, ceiling=0.01)).verdict == NOT_MEASURABLE


@pytest.mark.parametrize("name", ["incremental_log_loss", "incremental_watch_log_loss", "trait_activity",
                                  "trait_conformity", "trait_diversity"])  # fmt: skip
def test_a_gain_must_be_above_nothing_with_its_whole_interval(name: str) -> None:
    verdicts = [judged(name, Metric(0.5, low=low, high=0.9)).verdict for low in (0.0001, 0.0, -0.1)]
    assert verdicts == [PASS, FAIL, FAIL]
    assert judged(name, Metric(0.5)).verdict == NOT_MEASURABLE


def test_the_hybrid_must_not_be_surely_worse() -> None:
    verdicts = [judged("hybrid_gain", Metric(-0.1, low=-0.2, high=high)).verdict for high in (0.01, 0.0, -0.0001)]
    assert verdicts == [PASS, PASS, FAIL]


@pytest.mark.parametrize(
    ("name", "passing", "failing"),
    [
        ("title_injection_watch", [0.05, 0.0499, 0.0, -0.3], [0.0501, 0.4]),
        ("title_injection_stars", [0.2, 0.1999, 0.0, -0.3], [0.2001, 1.5]),
    ],
)
def test_a_title_must_move_nobody_with_its_whole_interval(
    name: str, passing: list[float], failing: list[float]
) -> None:
    """The upper end of the interval is held against the tolerance, wherever the value lies."""

    def verdict(high: float) -> str:
        return judged(name, Metric(-0.4, low=-0.5, high=high)).verdict

    assert [verdict(x) for x in passing] == [PASS] * len(passing)
    assert [verdict(x) for x in failing] == [FAIL] * len(failing)
    assert judged(name, Metric(0.0)).verdict == NOT_MEASURABLE


def test_every_gate_has_its_limit_tested() -> None:
    """A new gate must come with its worked limit."""
    marks = [
        mark
        for test in (test_a_gate_at_its_limit_and_on_each_side, test_a_title_must_move_nobody_with_its_whole_interval)
        for mark in test.pytestmark[0].args[1]  # type: ignore[attr-defined]
    ]
    by_interval = {"incremental_log_loss", "incremental_watch_log_loss", "hybrid_gain"}
    by_interval |= {"trait_activity", "trait_conformity", "trait_diversity"}
    assert set(GATES) <= {mark[0] for mark in marks} | by_interval
