"""The real small model plays agents of every kind, and a society; unusable answers are asked again and counted."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

pytest.importorskip("transformers")

from recsim_llm.experiments.simulation import recorders
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.cost.cost_report import cost_report
from recsim_llm.experiments.simulation.interview import exit_interviews
from recsim_llm.experiments.simulation.replay import replay
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.language import list_models, make_llm

PRESENT = any(row.name == "smollm2-135m" and row.present for row in list_models())
pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_llm,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not PRESENT, reason="the small model is not in the cache: recsim-llm models get smollm2-135m"),
]


@pytest.fixture(scope="module")
def smollm():
    return make_llm("transformers:smollm2-135m")


@pytest.fixture(autouse=True)
def _model_without_cache(monkeypatch, smollm):
    monkeypatch.setattr(recorders, "open_backend", lambda *_: nullcontext(smollm))


@pytest.mark.parametrize("kind", ["agent4rec:genres", "recagent", "agentcf"])
def test_agents_of_each_kind_see_up_to_two_pages(kind, tmp_path):
    config = SimulationConfig(user_model=kind, policies=("popularity",), users=12, pages=2, page_size=2)
    (run,) = simulate(config, tmp_path, progress=False)
    steps, summary = run.step_batch(), run.manifest.summary
    assert len(np.unique(steps.user)) == 12
    assert steps.page.max() == 1
    assert ((steps.watch > 0) & (steps.watch < 1)).any()
    answers = summary["answers"]
    assert answers["usable"] > 12
    assert answers["reasked"] == answers["malformed"] - answers["fallbacks"]
    assert f"{answers['malformed']} malformed" in cost_report([run])
    assert replay(run).steps == len(steps)


def test_agents_who_write_are_read_or_counted(tmp_path, smollm):
    # One short answer: a small model writes a dozen tokens a second.
    config = SimulationConfig(
        user_model="agent4rec:text,genres", policies=("popularity",), users=1, pages=1, page_size=1
    )
    (run,) = simulate(config, tmp_path, progress=False)
    answers = run.manifest.summary["answers"]
    assert answers["asked"] >= 1
    assert answers["usable"] + answers["fallbacks"] == answers["asked"]
    assert replay(run).steps == len(run.step_batch())
    said = exit_interviews(run, smollm)
    assert len(said) == 1
    assert all(a.rating is None or 1 <= a.rating <= 10 for a in said)


def test_a_society_of_real_agents(tmp_path):
    config = SimulationConfig(
        user_model="recagent", policies=("popularity",), users=12, rounds=2, pages=1, page_size=2, graph="homophily"
    )
    (run,) = simulate(config, tmp_path, progress=False)
    events = run.events().to_pylist()
    assert {"browse", "search", "chat", "post"} & {e["action"] for e in events}
    assert all(e["text"] for e in events if e["action"] in {"search", "hear"})
    assert replay(run).steps == len(run.step_batch())
