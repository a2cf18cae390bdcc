import numpy as np
import pytest

from recsim_llm.agents.fitted_sources import Source
from recsim_llm.agents.population import make_population
from recsim_llm.certificate import FAIL, NOT_MEASURABLE, PASS, read_certificate
from recsim_llm.data.splits import calibration_users
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.experiments.fidelity.certify import CertifyConfig, certify
from recsim_llm.experiments.fidelity.testers import make_testers, ordered_pairs
from recsim_llm.testing.scripted import FunctionLLM, hash_choice_llm
from recsim_llm.types import Prompt

WORLD = CertifyConfig(dataset="synthetic", resamples=200)


@pytest.fixture(scope="module")
def truth():
    """The certificate of the very people whose ratings the invented log holds."""
    return certify(WORLD, "statistical", None, progress=False)


def test_the_truth_passes_where_a_log_can_tell(truth) -> None:
    for name in (
        "rps_skill",
        "rps",
        "log_loss",
        "rmse_mean",
        "rating_jsd_bits",
        "between_user_variance_ratio",
        "tester_pairs",
    ):
        assert truth.metrics[name].verdict == PASS, (name, truth.metrics[name])
    assert truth.metrics["incremental_log_loss"].value > 0.01, "the truth knows more than any model of its log"


def test_every_metric_has_a_gate_and_a_verdict(truth) -> None:
    for name, metric in truth.metrics.items():
        assert metric.verdict in {PASS, FAIL, NOT_MEASURABLE}, name
        assert metric.gate, name
        assert (metric.verdict == NOT_MEASURABLE) == bool(metric.why), name
        if metric.value is not None and metric.low is not None:
            assert metric.low <= metric.value + 1e-9, name
            assert metric.value <= metric.high + 1e-9, name


def test_the_names_that_others_rely_on_are_there(truth) -> None:
    assert {
        "rps_skill", "rps", "rmse_mean", "mae_mean", "log_loss", "ece", "rating_jsd_bits",
        "between_user_variance_ratio", "discrimination_1_1_accuracy", "discrimination_1_1_f1",
        "discrimination_popmatched_auc", "incremental_log_loss",
    } <= set(truth.metrics)  # fmt: skip
    baselines = {"constant", "item mean", "user mean", "bias model", "popularity", "genre profile", "item-knn", "svd"}
    assert baselines | {"ease", "slot only", "histogram sampler"} <= set(truth.baselines)


def test_what_the_log_does_not_hold_is_not_measurable(truth) -> None:
    for name in ("session_length_ks", "exposure_auc", "naming_ids_auc"):
        assert truth.metrics[name].verdict == NOT_MEASURABLE
    assert truth.notes["leaving"] == "declared"


def test_statistical_people_read_no_titles(truth) -> None:
    for name in ("title_injection_watch", "title_injection_stars"):
        metric = truth.metrics[name]
        assert (metric.value, metric.verdict, metric.why) == (None, NOT_MEASURABLE, "reads no titles")
    assert "title injection" not in truth.notes


def test_nobody_kept_for_calibration_is_measured(truth) -> None:
    kept = calibration_users(200)
    assert 0.1 < kept.mean() < 0.3
    assert truth.n_users == (~kept).sum()


def test_the_same_config_gives_the_same_certificate(truth, tmp_path) -> None:
    again = certify(WORLD, "statistical", None, progress=False)
    truth.write(tmp_path / "a.json")
    again.write(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read_certificate(tmp_path / "a.json").metrics == truth.metrics


def test_a_model_that_knows_nothing_fails(truth) -> None:
    config = CertifyConfig(dataset="synthetic", users=30, rows=5, resamples=200)
    found = certify(config, "llm", hash_choice_llm(0), progress=False)
    for name in ("rps_skill", "log_loss", "rmse_mean", "ece", "discrimination_popmatched_auc", "incremental_log_loss"):
        assert found.metrics[name].verdict == FAIL, name
    assert found.n_users == 30
    assert found.llm == "hash-choice:0"


def test_a_model_that_reads_titles_is_caught_by_other_names() -> None:
    """It knows the items that people rate by the words of their titles alone."""

    def knows(prompt: Prompt) -> list[float]:
        likes = "Drama" in prompt.question
        return (
            [0.8, 0.1] if likes and len(prompt.choices) == 2 else [1 / (1 + len(prompt.choices))] * len(prompt.choices)
        )

    config = CertifyConfig(dataset="synthetic", users=30, rows=5, naming=True, resamples=200)
    found = certify(config, "llm", FunctionLLM(knows), progress=False)
    assert found.metrics["naming_ids_auc"].value == pytest.approx(0.5)
    invented, titles = found.metrics["naming_invented_auc"].value, found.metrics["discrimination_popmatched_auc"].value
    assert invented == pytest.approx(titles, abs=0.1), "genres stay under invented titles"


def test_spoilt_recommenders_are_ordered_by_how_spoilt_they_are() -> None:
    population = make_population(Source("synthetic", "random"))
    members = np.arange(40)
    testers = make_testers(population.log, population.dataset.catalogue, members)
    assert testers.pages.shape == (len(testers.names), 40, 8)
    good = -np.arange(len(testers.names), dtype=float)  # utility falls with each step of spoiling
    measure = ordered_pairs(testers, np.tile(good, (40, 1)))
    assert measure.value == 1.0
    assert ordered_pairs(testers, np.tile(-good, (40, 1))).value == 0.0


def test_configs_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="resamples"):
        certify(CertifyConfig(dataset="synthetic", resamples=5), "statistical", None)


def test_a_file_that_is_no_certificate_is_refused(tmp_path) -> None:
    with pytest.raises(RecordingError, match="is not a certificate"):
        read_certificate(tmp_path / "none.json")
    (tmp_path / "a.json").write_text('{"format_version": 99}')
    with pytest.raises(RecordingError, match="format 99"):
        read_certificate(tmp_path / "a.json")
