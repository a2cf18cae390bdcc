"""The acceptance of statistical users on real ratings: fixed numbers, beside the certificate's relative gates."""

import pytest

from recsim_llm.data import list_datasets
from recsim_llm.experiments.fidelity.certificate_gates import unmet
from recsim_llm.experiments.fidelity.certify import CertifyConfig, certify

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not any(d.name == "ml-100k" and d.present for d in list_datasets()), reason="make fetch"),
]
GATES = (
    "rps_skill>=0.215", "rmse_mean<=0.925", "ece<=0.03", "rating_jsd_bits", "between_user_variance_ratio",
    "discrimination_1_1_accuracy>0.80", "discrimination_1_1_f1>0.80", "discrimination_popmatched_auc", "tester_pairs",
    "slot_curve_gap", "trait_activity", "trait_conformity",
)  # fmt: skip


def test_statistical_people_of_ml_100k():
    found = certify(CertifyConfig(dataset="ml-100k"), "statistical", None, progress=False)
    assert unmet(found.metrics, GATES) == []
    assert found.baselines["bias model"]["rmse_mean"] == pytest.approx(0.938, abs=0.005)
    assert found.baselines["popularity"]["discrimination_1_1_accuracy"] == pytest.approx(0.78, abs=0.01)


def test_the_future_is_harder():
    """Under the temporal split everybody is worse; what must hold is what holds relative to the baselines."""
    found = certify(CertifyConfig(dataset="ml-100k", split="temporal"), "statistical", None, progress=False)
    assert unmet(found.metrics, ["rps_skill", "rmse_mean", "tester_pairs"]) == []
