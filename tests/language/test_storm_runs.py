"""Whole runs through bad weather: a server that fails and hangs, a copy of the model that is killed."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

pytest.importorskip("aiohttp")

from mock_server import MockServer
from test_openai_storms import Storm

from recsim_llm.experiments.backend import Engines
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.cost.cost_report import cost_report
from recsim_llm.experiments.simulation.replay import replay
from recsim_llm.experiments.simulation.simulate import simulate

CONFIG = SimulationConfig(
    user_model="agent4rec:genres,items", policies=("popularity",), users=100, pages=3, page_size=4
)


@pytest.mark.slow
@pytest.mark.parametrize("vllm", [False, True])
def test_a_server_that_fails_and_hangs_changes_nothing(vllm, tmp_path, monkeypatch):
    """10 % of calls fail, 5 % hang for 120 s: longer than the run takes on a busy machine."""
    runs, seconds = [], []
    for storm in (None, Storm(hang=0.05, fail=0.1)):
        monkeypatch.setenv("RECSIM_LLM_HOME", str(tmp_path / f"home{len(runs)}"))
        with MockServer(vllm=vllm, latency_s=0.02, hang_s=120.0, fault=storm) as server:
            llm = f"openai:m?base_url={server.url}&hedge_after_s=0.1&concurrency=64"
            started = time.perf_counter()
            runs += simulate(replace(CONFIG, llm=llm), tmp_path / f"run{len(runs)}", progress=False)
            seconds.append(time.perf_counter() - started)
    calm, stormy = runs
    assert storm is not None
    assert storm.seen["fail"] > 0
    assert stormy.trajectory_hash() == calm.trajectory_hash()
    spent = stormy.manifest.summary["llm"]
    assert spent["retries"] > 0
    if not vllm:  # its few batches are not all unlucky in the same way
        assert spent["no_answers"] > 0
        assert f"{spent['no_answers']} answers that were none, asked again" in cost_report([stormy])
    assert seconds[1] < 100.0, "no hanging call was waited for"
    assert replay(stormy).trajectory_hash == calm.trajectory_hash()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_copy_of_the_model_that_is_killed_changes_nothing(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path.parent) + ":" + __file__.rpartition("/")[0])
    runs = []
    for engines in (Engines(), Engines("local", 2)):
        monkeypatch.setenv("RECSIM_LLM_HOME", str(tmp_path / f"home{len(runs)}"))
        monkeypatch.setenv("RECSIM_LLM_TEST_MARK", str(tmp_path / f"mark{len(runs)}") if engines.ray else "")
        config = replace(CONFIG, llm="python:ray_engines:DiesOnce")
        runs += simulate(config, tmp_path / f"run{len(runs)}", progress=False, engines=engines)
    calm, stormy = runs
    assert stormy.trajectory_hash() == calm.trajectory_hash()
    assert stormy.manifest.summary["llm"]["restarts"] == 1
