"""The published run of Agent4Rec, lived again from its record; needs the data. Its hazard fit, on invented exits."""

from __future__ import annotations

import gzip
import json
import os
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from recsim_llm.agents.llm.agent4rec.agent4rec import Agent4Rec, Agent4RecOptions
from recsim_llm.agents.llm.agent_kind import Agent
from recsim_llm.agents.personas.persona import build_personas
from recsim_llm.agents.statistical.leaving import LeaveParameters, leave_probability
from recsim_llm.data import load_dataset, split_ratings
from recsim_llm.language.converse import converse
from recsim_llm.language.encoders import HashEncoder
from recsim_llm.testing.scripted import FunctionLLM

VARIABLE = "RECSIM_LLM_AGENT4REC"
RELEASED = Path(__file__).parents[2].parent / "shared" / "data" / "agent4rec" / "runs" / "LightGCN_1000x5x4"
TOLD = "Relevant context from your memory:"


@pytest.fixture
def benchmark(monkeypatch):
    """A module of the benchmarks, which stand beside the package and are not installed with it."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return lambda name: import_module(f"benchmarks.{name}")


def test_the_fit_finds_the_hazard_that_exits_were_drawn_from(benchmark):
    exits = benchmark("agent4rec_exits")
    rng, size = np.random.default_rng(0), 60_000
    page, activity, satisfaction = rng.integers(0, 5, size), rng.integers(1, 4, size), rng.random(size)
    true = LeaveParameters(base=-1.0, per_page=0.6, pleasure=1.5, patience=0.8)
    left = rng.random(size) < leave_probability(true, page, satisfaction, np.zeros(size), activity)
    forced = page == 4
    # Whatever forced exits look like, they must not count.
    found, errors = exits.fit_exits(exits.Exits(page, satisfaction, activity, left | forced, forced))
    for name, error in zip(("base", "per_page", "pleasure", "patience"), errors, strict=True):
        assert error < 0.1
        assert getattr(found, name) == pytest.approx(getattr(true, name), abs=4 * error)


@pytest.mark.skipif(VARIABLE not in os.environ, reason=f"needs Agent4Rec's released data in ${VARIABLE}")
def test_the_published_run_comes_out_as_published(benchmark, capsys):
    assert benchmark("replay_agent4rec").main([os.environ[VARIABLE], "--fit-exits"]) == 0
    printed = capsys.readouterr().out
    for line in (
        "Pages identical: 3,234 of 3,234",
        "Stored likes: 1.9727",
        "Stored precision: 0.4155",
        "align lines are resolved to its items in order: 3,234 of 3,234",
        "Hazard fitted to 3120 free decisions",
    ):
        assert line in printed


@pytest.mark.skipif(VARIABLE not in os.environ, reason=f"needs Agent4Rec's released data in ${VARIABLE}")
def test_a_changed_record_is_noticed(benchmark, tmp_path, capsys):
    source = Path(os.environ[VARIABLE])
    for name in ("movie_detail.csv", "user_statistic.csv", "cf_data"):
        (tmp_path / name).symlink_to(source / name)
    run = tmp_path / "runs" / "MF_100x5x4"
    run.mkdir(parents=True)
    for file in (source / "runs" / run.name).iterdir():
        (run / file.name).write_bytes(file.read_bytes())
    stored = run / "metrics.txt"
    stored.write_text(stored.read_text("utf-8").replace("exit page: 3.17", "exit page: 3.18"), "utf-8")
    assert benchmark("replay_agent4rec").main([str(tmp_path), "--run", run.name]) == 1
    assert "Not as published: Stored exit" in capsys.readouterr().out


@pytest.mark.skipif(not RELEASED.exists(), reason="Agent4Rec's released run is not here")
def test_the_published_page_prompt_is_built_as_the_docs_say():
    """Traits, tastes, rating tendency, from page 2 on memories; items with mean rating and summary, without genres."""
    with gzip.open(RELEASED / "raw_llm_io.jsonl.gz", "rt", encoding="utf-8") as file:
        pages = [json.loads(line) for line in file]
    parts = ("activity trait is", "conformity trait is", "diversity trait is", "movie tastes are", "rating tendency is")
    told = {number: set() for number in range(1, 6)}
    for page in pages:
        places = [page["system"].find(part) for part in parts]
        assert -1 not in places
        assert places == sorted(places)
        told[page["page"]].add((page["system"] + "\n").partition(TOLD)[2].count("- The recommender recommended"))
        assert page["prompt"].count("History ratings: ") == page["prompt"].count("<- Summary: ") == 4
        assert TOLD not in page["prompt"]
        assert TOLD in page["decision_prompt"]
    assert len(pages) == 3_234
    # Facts of earlier pages; the five memories of a prompt are these, the turns of pages and a feeling.
    assert told[1] == {0}
    assert told[2] == {1}
    assert told[3] == {2}
    assert min(told[4] | told[5]) >= 1


def test_our_page_prompt_has_the_parts_that_the_docs_list():
    """The same order: tastes, rating line, traits, memories, then the page; "Nothing yet." before the first page."""
    world = load_dataset("synthetic")
    log = split_ratings(world.ratings, "temporal").train
    people = build_personas(world, log)
    kind = Agent4Rec(
        world.catalogue, people, world.rating_levels, log, HashEncoder(), Agent4RecOptions(tastes="genres")
    )
    me, page, asked = Agent(0, 0, 7), [0, 1, 2, 3], []
    kind.memory.forget(np.zeros(1, dtype=np.int64))
    llm = FunctionLLM(lambda prompt: asked.append(prompt) or "0 0 0 0")
    converse(llm, [kind.begin(me)])
    converse(llm, [kind.react(me, page, [])])
    (events,) = converse(llm, [kind.observe(me, page, [0.0, 5.0, 0.0, 0.0])])
    kind.memory.add(np.zeros(len(events), dtype=np.int64), events, np.ones(len(events)))
    recalled = kind.memory.recall(np.zeros(1, dtype=np.int64), [kind.query(me, [4, 5, 6, 7])], np.ones(1))
    converse(llm, [kind.react(me, [4, 5, 6, 7], recalled[0])])
    first, second = asked
    parts = ("The person's tastes:", "Gives ", "Habit: ", "What the person remembers:")
    for prompt in asked:
        places = [prompt.context.find(part) for part in parts]
        assert -1 not in places
        assert places == sorted(places)
        assert prompt.question.count("average rating") == 4
    assert first.context.endswith("Nothing yet.")
    assert f"Watched {world.catalogue[1].label} and gave it 5 of 5" in second.context.partition(parts[3])[2]
