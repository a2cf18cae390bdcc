"""vLLM's engine takes the folder of a tuned model as it is, and its users are the same people there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here; make install-vllm makes an environment with it")

from recsim_llm.agents.fitted_sources import Source
from recsim_llm.agents.population import make_population
from recsim_llm.errors import ModelNotFoundError
from recsim_llm.experiments.tuning.task import TuneConfig
from recsim_llm.experiments.tuning.tune import tune
from recsim_llm.language import TransformersLLM, make_llm, resolve_model

pytestmark = [pytest.mark.slow, pytest.mark.real_llm, pytest.mark.vllm, pytest.mark.filterwarnings("default")]
WORLD = "synthetic:0:8"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    try:
        resolve_model("smollm2-135m")
    except ModelNotFoundError as error:
        pytest.skip(str(error))
    # Gentle: a few steps at the usual rate leave no probability on the labels, and users would answer by the fallback.
    options = TuneConfig(WORLD, "smollm2-135m", tmp_path / "tuned", "random", batch=1, steps=8, rate=1e-4)
    return tune(options).folder


def test_users_of_a_tuned_folder_are_the_same_in_vllm(folder: Path) -> None:
    engine = make_llm(f"vllm:{folder}?max_model_len=2048&cpu_cache_gib=2&dtype=float32")
    try:
        reactions = [_reaction(llm) for llm in (engine, TransformersLLM(str(folder), device="cpu"))]
    finally:
        engine.close()
    assert np.ptp(reactions[0][0]) > 0.01, "items are judged apart"
    for one, other in zip(*reactions, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


def _reaction(llm):
    users = make_population(Source(WORLD, "random"), "llm:tuned", llm).users
    sessions = np.arange(3)
    users.reset(sessions, sessions, np.zeros(3, dtype=np.uint64))
    reaction = users.react(sessions, np.arange(12).reshape(3, 4))
    assert users.counts.fallbacks == 0
    return reaction.watch_BK, reaction.rating_BKR
