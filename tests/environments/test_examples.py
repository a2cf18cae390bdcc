"""The training scripts in `examples/` run for a few hundred steps and change what they train."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def example(name: str) -> ModuleType:
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("options", "learns"), [(["--steps", "60000"], True), (["--steps", "15000", "--learning-rate", "0"], False)]
)
def test_cleanrl_style_ppo_learns_to_vary(options, learns):
    """Two to four times what it earned at first; an agent that cannot learn stays where it is."""
    pytest.importorskip("torch")
    module = example("train_cleanrl")
    curve = module.train(module.parser().parse_args(options))
    gain = np.nanmean(curve[-5:]) / np.nanmean(curve[:5])
    assert gain > 2.0 if learns else 0.7 < gain < 1.4


def test_cleanrl_style_advantages_are_those_of_the_definition():
    import torch

    module = example("train_cleanrl")
    rng = np.random.default_rng(0)
    T, B, gamma, trace = 6, 3, 0.9, 0.8
    values, reward = torch.rand(T + 1, B), rng.random((T, B))
    left, cut = rng.random((T, B)) < 0.3, rng.random((T, B)) < 0.3
    cut &= ~left
    rows = [(None, None, None, None, values[t], reward[t], left[t], cut[t], None) for t in range(T)]
    got = module.advantages(rows, values[T], gamma, trace).numpy()
    for b in range(B):
        for t in range(T):
            expected, weight = 0.0, 1.0
            for k in range(t, T):
                after = 0.0 if left[k, b] else float(values[k + 1, b])
                expected += weight * (reward[k, b] / 5 + gamma * after - float(values[k, b]))
                weight *= gamma * trace
                if left[k, b] or cut[k, b]:
                    break
            assert got[t, b] == pytest.approx(expected, abs=1e-5)


def stable_baselines(*options):
    """Reward a session before and after training, of the same people with the same luck."""
    pytest.importorskip("stable_baselines3")
    module = example("train_sb3")
    return module.train(module.parser().parse_args(["--sessions", "150", *options]))


def test_stable_baselines_learns_with_our_networks():
    before, after = stable_baselines("--steps", "6144")
    assert after > 1.25 * before


def test_stable_baselines_learns_nothing_from_raw_observations():
    """Item ids are no numbers."""
    before, after = stable_baselines("--steps", "6144", "--raw")
    assert after < 1.25 * before


def test_what_does_not_learn_earns_what_it_earned():
    before, after = stable_baselines("--steps", "512", "--learning-rate", "0")
    assert after == before


def test_tianshou_runs():
    pytest.importorskip("tianshou")
    module = example("train_tianshou")
    options = ["--steps", "600", "--envs", "4", "--pages", "10", "--sessions", "4"]
    before, after = module.train(module.parser().parse_args(options))
    assert before > 0
    assert after > 0
