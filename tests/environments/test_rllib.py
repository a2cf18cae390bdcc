"""RLlib trains on the vector environment; people played by a language model share engines between env runners."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

# RLlib warns of much that is not ours. It is imported where used only: that takes seconds of every test run.
pytestmark = [
    pytest.mark.skipif(not all(map(find_spec, ("ray", "tree", "torch"))), reason="RLlib is not installed"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.timeout(900),
]
EXAMPLE = Path(__file__).parents[2] / "examples" / "train_rllib.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = spec_from_file_location("train_rllib", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["train_rllib"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    import ray

    ray.init("local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def test_what_the_policy_sees_is_what_people_did(example):
    observation = {
        "user": np.array([[3], [4]]),
        "history_items": np.array([[0, 2, 1], [1, 0, 0]]),
        "history_ratings": np.array([[0.0, 5.0, 0.0], [1.0, 0.0, 0.0]], dtype=np.float32),
        "history_mask": np.array([[0, 1, 1], [1, 0, 0]], dtype=np.int8),
    }
    np.testing.assert_allclose(example.stars_by_item(observation, 4), [[0, -0.2, 1, 0], [0, 0.2, 0, 0]], rtol=1e-6)


def test_ppo_learns_to_please_statistical_people(example):
    returns = example.train(example.parse(["--iterations", "16", "--envs", "256"]))
    assert np.isfinite(returns).all()
    assert np.mean(returns[-3:]) > 1.1 * np.mean(returns[:3])


def test_env_runners_share_the_engines_of_llm_people():
    """As a user starts it: a process of its own, two env runners, two copies of the engine."""
    scripted = "python:recsim_llm.testing.scripted:hash_choice_llm"
    options = ["--user-model", "agent4rec:genres", "--llm", scripted, "--replicas", "2", "--env-runners", "2"]
    command = [sys.executable, str(EXAMPLE), *options, "--envs", "8", "--pages", "4", "--iterations", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.stdout.count("stars a visit") == 2, done.stderr[-2000:]
    assert done.returncode == 0
