"""The real small model plays real people: recorded, the same whatever the batch, replayed without the model."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from recsim_llm.agents.population import make_population
from recsim_llm.certificate import FAIL, PASS
from recsim_llm.data import list_datasets
from recsim_llm.experiments.fidelity.certify import CertifyConfig, certify
from recsim_llm.experiments.simulation import recorders
from recsim_llm.experiments.simulation import recorders as module
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.interview import interview
from recsim_llm.experiments.simulation.replay import replay
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.language import list_models, make_llm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_llm,
    pytest.mark.skipif(
        not any(m.name == "smollm2-135m" and m.present for m in list_models())
        or not any(d.name == "ml-100k" and d.present for d in list_datasets()),
        reason="make fetch",
    ),
]
MODEL = "transformers:smollm2-135m"
CONFIG = SimulationConfig(
    dataset="ml-100k", user_model="llm", llm=MODEL, policies=("ease",), users=3, pages=2, page_size=2, batch_size=3
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            module, "open_backend", lambda spec, *_: nullcontext(make_llm(spec))
        )  # without the user's answer cache
        return simulate(CONFIG, tmp_path_factory.mktemp("whole"), progress=False)[0]


def test_answers_are_usable(run):
    answers = run.manifest.summary["answers"]
    assert answers["usable"] > 0
    assert answers["fallbacks"] == 0
    assert answers["label_mass_seen"] / answers["label_reads"] > 0.05
    steps = run.step_batch()
    assert steps.watch.std() > 0, "the model tells items or people apart"
    np.testing.assert_allclose(steps.rating_probs.sum(axis=-1), 1.0)


def test_replay_needs_no_model(run):
    assert replay(run).steps == len(run.step_batch())


def test_batch_size_changes_nothing(run, tmp_path, monkeypatch):
    """Bit for bit, with the real model: its answers do not depend on what else is asked."""
    monkeypatch.setattr(recorders, "open_backend", lambda spec, *_: nullcontext(make_llm(spec)))
    (other,) = simulate(replace(CONFIG, batch_size=1), tmp_path, progress=False)
    mine, theirs = (r.step_batch().in_order() for r in (run, other))
    for name in ("user", "items", "watch", "rating_probs", "watched", "ratings", "leave", "left"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name), err_msg=name)


def test_a_cached_run_is_the_same_and_asks_nothing(run, tmp_path, monkeypatch):
    cache = tmp_path / "answers.sqlite"
    for folder, fresh in (("first", True), ("second", False)):
        llm = make_llm(CONFIG.llm, cache)
        monkeypatch.setattr(recorders, "open_backend", lambda *_, llm=llm: nullcontext(llm))
        (again,) = simulate(CONFIG, tmp_path / folder, progress=False)
        assert again.trajectory_hash() == run.trajectory_hash()
        assert (llm.usage.calls > 0) == fresh


def test_an_agent_can_be_interviewed(run):
    raw = make_population("ml-100k").dataset.people[int(run.session(0).user[0])].raw_id
    answer = interview(run, raw, "What did you think of the films you saw?", make_llm(CONFIG.llm))
    assert len(answer.split()) > 3


def test_the_certificate_of_the_model_as_it_comes_fails_and_comes_from_the_cache_the_second_time(tmp_path):
    config = CertifyConfig(user_model="llm", llm=MODEL, users=4, rows=1, resamples=100)
    found = []
    for _ in range(2):
        llm = make_llm(MODEL, tmp_path / "answers.sqlite")
        found.append(certify(config, "llm", llm, progress=False))
        asked = llm.usage.calls
    assert asked == 0
    assert found[0].metrics == found[1].metrics
    assert found[0].metrics["log_loss"].verdict == FAIL
    assert found[0].n_users == 4


def test_hybrid_people_with_the_small_model_do_no_harm():
    """What comes with the package is still of these prompts and this model; it must not be worse than the backbone."""
    llm = make_llm(MODEL)
    found = certify(CertifyConfig(llm=MODEL), "hybrid", llm, progress=False)
    gain = found.metrics["hybrid_gain"]
    assert gain.verdict == PASS
    assert gain.high is not None
    assert gain.high >= 0
    assert found.metrics["rps_skill"].verdict == PASS
