"""Engines on a real Ray, on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed")

from recsim_llm.errors import ConfigError, LLMError, MissingExtraError
from recsim_llm.experiments.backend import Engines
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.language import make_llm
from recsim_llm.language.backends.ray.ray_backend import RayLLM
from recsim_llm.testing.llm_contract import LLMContract
from recsim_llm.testing.scripted import hash_choice_llm
from recsim_llm.types import Prompt

# Ray leaves sockets and processes to its own atexit.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default"), pytest.mark.timeout(240)]
SCRIPTED = "python:recsim_llm.testing.scripted:hash_choice_llm"


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    """One Ray for all tests of this file, with more cores than there are, so that copies find room."""
    import ray

    here = {"env_vars": {"PYTHONPATH": str(Path(__file__).parent), "RAY_TEST_KEY": "sk-on-every-machine"}}
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init("local", num_cpus=16, runtime_env=here, **quiet)
    yield
    ray.shutdown()


@pytest.fixture
def engines():
    """Makes engines that end with the test."""
    made = []

    def make(spec: str = SCRIPTED, **options) -> RayLLM:
        made.append(RayLLM(spec, cpus_per_replica=1, **options))
        return made[-1]

    yield make
    for llm in made:
        llm.close()


def test_copies_read_the_key_from_their_own_environment(engines, monkeypatch):
    pytest.importorskip("aiohttp")
    from mock_server import MockServer

    monkeypatch.delenv("RAY_TEST_KEY", raising=False)  # set where the copies run, not here
    with MockServer(key="sk-on-every-machine") as server:
        llm = engines(f"openai:m?base_url={server.url}&api_key_env=RAY_TEST_KEY")
        assert [answer.text for answer in llm.generate(prompts(3))] == ["Yes"] * 3
        assert "sk-on" not in f"{llm.name}{vars(llm)}"
        with pytest.raises(ConfigError, match="RAY_OTHER_KEY, which is not set"):
            engines(f"openai:m?base_url={server.url}&api_key_env=RAY_OTHER_KEY")
    with pytest.raises(ConfigError, match="keys come from the environment"):
        engines("openai:m?api_key=sk-on-every-machine")


def prompts(count: int, agents: int = 13) -> list[Prompt]:
    return [Prompt("s", f"You are person {i % agents}.", f"Film {i}?", ("Yes", "No")) for i in range(count)]


class TestContract(LLMContract):
    @pytest.fixture(autouse=True)
    def use(self, engines):
        self.engines = engines

    def make(self):
        return self.engines(replicas=2, chunk_size=3)


@pytest.mark.parametrize("replicas", [1, 4])
def test_answers_are_those_of_one_engine_in_this_process(engines, replicas):
    llm, asked = engines(replicas=replicas, chunk_size=16), prompts(500)
    here = hash_choice_llm(0)
    assert llm.generate(asked) == here.generate(asked)
    assert llm.name == here.name
    assert llm.usage.calls == here.usage.calls == 500


def test_a_copy_that_is_killed_is_started_again_and_nothing_is_lost(engines):
    llm, asked = engines("python:ray_engines:Slow", replicas=2, chunk_size=10), prompts(300)
    expected = hash_choice_llm(0).generate(asked)
    victim = llm.processes()[0]
    llm.generate(asked[:40])
    threading.Timer(0.3, os.kill, (victim, signal.SIGKILL)).start()
    assert llm.generate(asked) == expected
    assert llm.generate(asked) == expected
    assert victim not in llm.processes()
    assert llm.usage.restarts == 1


def test_prompts_that_end_every_engine_are_an_error(engines):
    llm = engines("python:ray_engines:Deadly", replicas=1)
    with pytest.raises(LLMError, match="died 3 times over the same prompts"):
        llm.generate([*prompts(5), Prompt("", "", "die", ("Yes", "No"))])
    assert len(llm.generate(prompts(5))) == 5, "and others are answered afterwards"


def test_a_chunk_that_hangs_is_sent_to_another_copy(engines, tmp_path):
    llm = engines("python:ray_engines:StuckOnce", replicas=2, chunk_size=10)
    asked = [*prompts(200), Prompt("", "", f"hang {tmp_path / 'mark'}", ("Yes", "No"))]
    started = time.perf_counter()
    assert llm.generate(asked) == hash_choice_llm(0).generate(asked)
    assert time.perf_counter() - started < 30
    assert 0 < llm.usage.hedged <= 20


def test_errors_of_engines_arrive_as_they_are(engines):
    with pytest.raises(LLMError, match=r"^The key is wrong"):
        engines("python:ray_engines:Refusing").generate(prompts(3))
    with pytest.raises(ZeroDivisionError):
        engines("python:ray_engines:Broken").generate(prompts(3))
    with pytest.raises(MissingExtraError, match=r"recsim-llm\[vllm\]"):
        engines("python:ray_engines:missing")
    with pytest.raises(ConfigError, match="names no function"):
        engines("python:ray_engines:nothing")


def test_what_cannot_work_is_said_before_anything_starts(engines):
    with pytest.raises(ConfigError, match="1 copies with 64 GPUs each need 64, and this machine has 0"):
        engines(gpus_per_replica=64)
    with pytest.raises(ConfigError, match="Only vllm models"):
        engines(tensor_parallel=2)
    with pytest.raises(ConfigError, match="at least 1"):
        engines(replicas=0)
    with pytest.raises(LLMError, match="were not ready after 2 s"):
        RayLLM(SCRIPTED, "auto", cpus_per_replica=1000, start_timeout_s=2)


def test_others_join_by_name(engines):
    llm = engines(replicas=2, name="shared")
    asked = prompts(20)
    joined = make_llm("ray:shared")
    assert joined.generate(asked) == llm.generate(asked)
    assert joined.name == llm.name
    joined.close()
    assert llm.generate(asked), "who joined does not end the engines"
    with pytest.raises(LLMError, match="Nobody has started engines with the name 'nobody'"):
        make_llm("ray:nobody")
    with pytest.raises(ConfigError, match="are there already"):
        engines(name="shared")


def test_another_process_joins_by_name(engines):
    import ray

    engines(name="abroad")
    code = "from recsim_llm.language import make_llm; print(make_llm('ray:abroad').name)"
    env = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == hash_choice_llm(0).name, done.stderr


def test_a_run_is_the_same_without_ray_with_one_copy_and_with_four(tmp_path, monkeypatch):
    hashes = set()
    for engines in (Engines(), Engines("local", 1), Engines("local", 4)):
        monkeypatch.setenv("RECSIM_LLM_HOME", str(tmp_path / f"home{engines.replicas}{engines.ray}"))
        config = SimulationConfig(user_model="agent4rec", llm=SCRIPTED, policies=("popularity",), users=60, pages=3)
        (run,) = simulate(config, tmp_path / f"run{engines.replicas}{engines.ray}", progress=False, engines=engines)
        hashes.add(run.trajectory_hash())
        assert run.manifest.summary["llm"]["calls"] > 100
    assert len(hashes) == 1
