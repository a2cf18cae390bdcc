"""Runs that stop at a ceiling, and go on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recsim_llm.cli.command_line import main
from recsim_llm.errors import BudgetError, ConfigError
from recsim_llm.experiments.backend import Engines, open_backend
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.cost.cost_report import cost, cost_report
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.language.wrappers.budget import Budget
from recsim_llm.runs import Run

LLM = "python:recsim_llm.testing.scripted:hash_choice_llm"
CONFIG = SimulationConfig(
    user_model="agent4rec:genres", llm=LLM, policies=("popularity",), users=12, pages=3, page_size=4, batch_size=4
)


@pytest.fixture(autouse=True)
def _at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("RECSIM_LLM_HOME", str(tmp_path / "home"))


def test_a_run_in_small_budgets_is_the_run_without_one(tmp_path):
    (whole,) = simulate(CONFIG, tmp_path / "whole", progress=False)
    spent = whole.manifest.summary["llm"]["calls"]
    # Answers of the run above would be in the cache.
    for file in (tmp_path / "home").iterdir():
        file.unlink()
    calls = 0
    for resume in (False, True, True, True, True, True):
        try:
            (run,) = simulate(CONFIG, tmp_path / "parts", resume, progress=False, budget=Budget(budget_calls=7))
        except BudgetError:
            assert Run(tmp_path / "parts" / "popularity").manifest.status == "interrupted"
            calls += 7
        else:
            calls += run.manifest.summary["llm"]["calls"]
            break
    assert calls == spent, "nothing was paid for twice"
    assert run.trajectory_hash() == whole.trajectory_hash()


def test_the_command_says_how_to_go_on(tmp_path, capsys):
    command = ["simulate", "--user-model", "agent4rec:genres", "--llm", LLM, "--policy", "popularity", "--users", "9"]
    out = ["--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as stopped:
        main([*command, *out, "--budget-calls", "5"])
    assert stopped.value.code == 3
    assert "5 of 5 calls are used" in capsys.readouterr().err
    main([*command, *out, "--resume", "--max-hours", "1", "--budget-tokens", "1000000"])
    told = capsys.readouterr().out
    assert "LLM calls" in told
    assert "decisions" in told


def test_what_a_run_cost(tmp_path):
    uniform = "python:recsim_llm.language:UniformLLM"
    (run,) = simulate(replace(CONFIG, llm=uniform), tmp_path, progress=False)
    figures, spent = cost(run), run.manifest.summary["llm"]
    assert figures is not None
    assert figures.decisions == run.step_batch().items.size
    assert figures.tokens == (spent["prompt_tokens"] + spent["output_tokens"]) / figures.decisions
    assert figures.cached == 0
    assert 0.1 < figures.repeated < 1
    told = cost_report([run])
    assert f"{figures.decisions:,} decisions" in told
    assert "0 prompts refused" in told


def test_engines_that_cannot_be():
    for engines, sentence in (
        (Engines(replicas=0, ray="local"), "--replicas must be a whole number between 1 and"),
        (Engines(gpus_per_replica=1.5, ray="local"), "share of 1"),
        (Engines(replicas=2), "add --ray"),
    ):
        with pytest.raises(ConfigError, match=sentence), open_backend("uniform", engines):
            pass
