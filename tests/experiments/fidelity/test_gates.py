import pytest

from recsim_llm.certificate import FAIL, NOT_MEASURABLE, PASS, Metric
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.fidelity.certificate_gates import check_required, judged, unmet


def test_a_gate_is_relative_to_the_bar() -> None:
    assert judged("rps_skill", Metric(0.21, bar=0.20)).verdict == PASS
    assert judged("rps_skill", Metric(0.19, bar=0.20)).verdict == FAIL
    assert "0.2 (bar)" in judged("rps_skill", Metric(0.19, bar=0.20)).gate


def test_what_cannot_be_had_is_neither_passed_nor_failed() -> None:
    assert judged("rps_skill", Metric(None, bar=0.2)).verdict == NOT_MEASURABLE
    assert judged("rps_skill", Metric(0.5)).verdict == NOT_MEASURABLE
    assert judged("ece", Metric(None, why="no distribution")).why == "no distribution"


def test_a_band_has_two_sides() -> None:
    verdicts = [judged("between_user_variance_ratio", Metric(x)).verdict for x in (0.79, 0.8, 1.2, 1.21)]
    assert verdicts == [FAIL, PASS, PASS, FAIL]


def test_information_must_be_sure_not_only_positive() -> None:
    assert judged("incremental_log_loss", Metric(0.01, low=-0.001)).verdict == FAIL
    assert judged("incremental_log_loss", Metric(0.01, low=0.002)).verdict == PASS


def test_requirements_are_names_or_rules() -> None:
    metrics = {"ece": judged("ece", Metric(0.02)), "rmse_mean": judged("rmse_mean", Metric(1.0, bar=0.9))}
    assert unmet(metrics, ["ece", "ece<=0.02", " rmse_mean < 1.5 "]) == []
    failed = unmet(metrics, ["rmse_mean", "ece<0.02"])
    assert "rmse_mean: fail" in failed[0]
    assert "ece is 0.02, not < 0.02" in failed[1]


@pytest.mark.parametrize("wrong", ["", "ece =< 3", "ece>=", "ece>=1e", "a b"])
def test_an_unreadable_requirement_is_refused_before_anything_is_measured(wrong: str) -> None:
    with pytest.raises(ConfigError, match="--require"):
        check_required([wrong])


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="Metrics: ece"):
        unmet({"ece": Metric(0.0)}, ["rsp"])
