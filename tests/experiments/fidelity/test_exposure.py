"""A data set that logs what was shown: choices, slots and exits are measured on sessions that nothing was fitted to."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recsim_llm.agents.fitted_sources import Source, held_sessions, load_source, statistical_parameters
from recsim_llm.agents.statistical.impression_fit import impressions_of
from recsim_llm.agents.statistical.leaving import LeaveParameters
from recsim_llm.agents.statistical.statistical_users import StatisticalUsers
from recsim_llm.certificate import PASS
from recsim_llm.data import load_dataset
from recsim_llm.data.formats.folder import save_folder
from recsim_llm.environments.sessions import PageRules
from recsim_llm.experiments.fidelity.certify import CertifyConfig, certify
from recsim_llm.experiments.fidelity.exposure import relive_sessions
from recsim_llm.experiments.simulation.rollout import rollout
from recsim_llm.policies import make_policy
from recsim_llm.runs import StepBatch

WORLD = "synthetic:5:500"
TRUTH = replace(
    statistical_parameters(WORLD),
    examination=np.array([1.0, 0.6, 0.4, 0.25]),
    leave=LeaveParameters(base=-0.8, per_page=0.35, pleasure=1.5),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Everybody visits three times, each with luck of its own, and sees random pages of four, three at most."""
    data = load_dataset(WORLD)
    tables, rules = [], PageRules(page_size=4, max_pages=3)
    for seed in range(3):  # a repeated visitor under one seed would be the same session again
        policy = make_policy("random", data.ratings, data.catalogue, 4, seed)
        for batch in rollout(WORLD, StatisticalUsers(TRUTH), policy, np.arange(500), rules, seed, 500):
            tables.append(replace(batch, session=batch.session + 500 * seed).to_table())
    s = StepBatch.from_table(pa.concat_tables(tables))
    log = impressions_of(s.user, s.session, s.page, s.items, s.watched, s.ratings, s.left)
    path = tmp_path_factory.mktemp("logged") / "world"
    save_folder(replace(data, name="logged", impressions=log), path)
    return str(path)


@pytest.mark.slow
def test_slots_levels_and_exits_are_certified(folder):
    found = certify(CertifyConfig(dataset=folder, resamples=200), "statistical", None, progress=False)
    # Not watch_ece: the level is the log's, but the shape of the watch model is still that of ratings.
    for name in ("exposure_auc", "watch_log_loss", "session_length_ks"):
        assert found.metrics[name].verdict == PASS, (name, found.metrics[name])
    assert found.notes["leaving"] == found.notes["examination (slots)"] == "fitted"
    watched = found.curves["slots"]["watched"]
    assert watched[0] > 1.4 * watched[2], "the simulator has the slot effect of the log"
    survival = found.curves["session_length"]
    np.testing.assert_allclose(survival["simulated"], survival["real"], atol=0.08)


def test_the_truth_itself_relives_a_session_as_it_was(folder):
    data, _ = load_source(Source(folder))
    log = data.impressions.take(held_sessions(data.impressions))
    relived = relive_sessions(StatisticalUsers(TRUTH), log)
    assert relived.chance.sum() == pytest.approx(log.watched.sum(), rel=0.1)
    decided = relived.decided
    assert relived.leave[decided].sum() == pytest.approx(relived.left[decided].sum(), rel=0.15)
