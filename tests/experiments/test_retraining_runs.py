"""Runs whose policy is fitted again on the way: the same after kill -9, replayed, changed by what people watched."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.cost.cost_report import refit_report
from recsim_llm.experiments.simulation.replay import replay
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.runs import Run

SOCIETY = {"users": 40, "rounds": 5, "pages": 2, "page_size": 4}
SESSIONS = {"users": 40, "pages": 4, "page_size": 4, "batch_size": 16}
CHILD = """
import os, signal, sys
from pathlib import Path
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.policies.retrain import Retrain
real, left = Retrain._refit, [3]
def refit(policy):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    real(policy)
Retrain._refit = refit
config = SimulationConfig(policies=("retrain?of=als&embedding_size=8",), **eval(sys.argv[2]))
simulate(config, Path(sys.argv[1]), progress=False)
"""


def recorded(run: Run) -> dict[str, bytes]:
    kinds = ("steps", "events")
    return {str(p.relative_to(run.folder)): p.read_bytes() for k in kinds for p in (run.folder / k).glob("*")}


@pytest.mark.slow
@pytest.mark.parametrize("size", [SOCIETY, SESSIONS], ids=["society", "sessions"])
def test_killed_in_a_refit_and_resumed_the_bytes_are_the_same(size, tmp_path):
    config = SimulationConfig(policies=("retrain?of=als&embedding_size=8",), **size)
    (whole,) = simulate(config, tmp_path / "whole", progress=False)
    child = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path / "killed"), repr(size)], check=False)
    assert child.returncode == -9
    folder = tmp_path / "killed" / whole.folder.name
    assert 0 < len(recorded(Run(folder))) < len(recorded(whole))
    (again,) = simulate(config, tmp_path / "killed", resume=True, progress=False)
    assert recorded(again) == recorded(whole)
    assert replay(again).trajectory_hash == whole.trajectory_hash()
    spent = whole.manifest.summary["policy"]
    assert spent["refits"] >= 3
    assert spent["seconds_per_refit"] > 0
    assert f"fitted again {spent['refits']:.0f} times" in refit_report([whole])


@pytest.mark.parametrize("size", [SOCIETY, SESSIONS], ids=["society", "sessions"])
def test_without_refits_a_run_is_that_of_the_plain_policy_and_with_them_it_is_not(size, tmp_path):
    config = SimulationConfig(policies=("ease", "retrain?of=ease&every=0", "retrain?of=ease"), **size)
    plain, never, each = (run.step_batch() for run in simulate(config, tmp_path, progress=False))
    np.testing.assert_array_equal(plain.items, never.items)
    assert not np.array_equal(plain.items, each.items)
    if "rounds" not in size:  # the first page of the first batch: nobody has watched anything
        np.testing.assert_array_equal(plain.items[:16], each.items[:16])
