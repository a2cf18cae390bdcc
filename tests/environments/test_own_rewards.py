"""Rewards of one's own by name: counted, recorded, replayed, refused."""

from __future__ import annotations

import importlib
import re
import shutil
import sys

import gymnasium
import pytest

from recsim_llm.cli import command_line
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.simulate import simulate

REWARD = """
def fours(responses):
    return 10 * (responses.ratings_BK >= 4).sum(axis=1)

def broken(responses):
    return responses.nothing

LIMIT = 4
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A working directory with a module of rewards, which is forgotten at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_reward.py").write_text(REWARD)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("own_reward", None)


@pytest.mark.filterwarnings("ignore")
def test_a_reward_of_the_working_directory_is_counted_recorded_and_replayed(home, capsys):
    config = SimulationConfig(policies=("random",), users=6, reward="own_reward:fours")
    (run,) = simulate(config, home / "runs", progress=False)
    assert run.manifest.config["reward"] == "own_reward:fours"
    steps = run.steps()
    worth = steps[steps["rating"] >= 4].groupby(["session", "page"]).size() * 10.0
    pages = steps.groupby(["session", "page"])["page_reward"].first()
    assert pages.to_dict() == worth.reindex(pages.index, fill_value=0.0).to_dict()
    assert 0 < pages.sum() != steps["rating"].sum()
    command_line.main(["replay", "runs"])
    assert f"names own_reward:fours: it is imported from {home / 'own_reward.py'}" in capsys.readouterr().err
    # The recording is held against what the function says now.
    (home / "own_reward.py").write_text(REWARD.replace("10 *", "20 *"))
    shutil.rmtree(home / "__pycache__", ignore_errors=True)
    del sys.modules["own_reward"]
    with pytest.raises(SystemExit):
        command_line.main(["replay", "runs"])


@pytest.mark.filterwarnings("ignore")
def test_a_reward_in_gymnasium_make_and_its_errors(home):
    with gymnasium.make("recsim_llm/Page-v0", dataset="synthetic", reward="own_reward:fours") as env:
        env.reset(seed=0)
        rewards = [env.step(env.action_space.sample())[1] for _ in range(3)]
    assert all(reward % 10 == 0 for reward in rewards)
    for name, words in {
        "own_reward:broken": "own_reward.py, line 6",
        "own_reward:LIMIT": "module:function",
        "own_reward:fivs": "has no 'fivs'",
        "nobody_has_it:fours": "needs the module 'nobody_has_it'",
        "ratng": "Did you mean 'rating'",
    }.items():
        with pytest.raises(ConfigError, match=re.escape(words)):
            simulate(SimulationConfig(policies=("random",), users=2, reward=name), home / "bad", progress=False)
