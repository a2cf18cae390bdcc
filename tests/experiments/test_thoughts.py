"""Thoughts of people: asked after the choice, gated, recorded, replayed, resumed, shown; never of any consequence."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsim_llm.errors import ConfigError, LLMError, RecordingError
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.cost.cost_report import cost_report
from recsim_llm.experiments.simulation.interview import interview_prompt
from recsim_llm.experiments.simulation.replay import replay
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.runs import Run
from recsim_llm.runs.recorded_context import load_people
from recsim_llm.runs.run import MEMORIES, THOUGHTS, part_path
from recsim_llm.testing.scripted import FunctionLLM, hash_choice_llm
from recsim_llm.types import Completion, Prompt

KINDS = ("agent4rec:items", "agent4rec:text", "recagent", "agentcf", "dialogue", "llm")
CHOICES, CALLS_LEFT = hash_choice_llm(5), {"number": 10**9}
NOISE = "(3) (2) (5)"


def asks_a_thought(prompt: Prompt) -> bool:
    return "just looked at a page" in prompt.system


def model(name: str, thought) -> FunctionLLM:
    """Chooses by hash, and thinks as it is told."""

    def answer(prompt: Prompt) -> Completion:
        CALLS_LEFT["number"] -= 1
        if CALLS_LEFT["number"] < 0:
            raise LLMError("The server is gone.")
        if asks_a_thought(prompt):
            return Completion(thought(prompt))
        if prompt.choices or prompt.schema:
            return CHOICES.generate([prompt])[0]
        return Completion("Enjoys quiet dramas, and was pleased with the visit.")

    return FunctionLLM(answer, name)


def about_the_first(prompt: Prompt) -> str:
    title = re.search(r"^- (.+?) \(\d{4}\)", prompt.question, re.MULTILINE)
    assert title, prompt.question
    return f"I was glad that {title[1]} was there, it suits my mood"


def sane() -> FunctionLLM:
    return model("sane", about_the_first)


def digits() -> FunctionLLM:
    return model("digits", lambda prompt: NOISE)


def constant() -> FunctionLLM:
    return model("constant", lambda prompt: "I do like a good drama.")


def wavering() -> FunctionLLM:
    return model("wavering", lambda prompt: about_the_first(prompt) if "nothing else" in prompt.question else NOISE)


def config(llm: str = "sane", **changes) -> SimulationConfig:
    begun = SimulationConfig(
        user_model="agent4rec:items", llm=f"python:{__name__}:{llm}", policies=("popularity",), users=4, pages=3,
        page_size=3, thoughts="page",
    )  # fmt: skip
    return replace(begun, **changes)


def run_of(folder: Path, *args, **changes) -> Run:
    (run,) = simulate(config(*args, **changes), folder, progress=False)
    return run


def rows(run: Run) -> list[dict]:
    return [row for part in range(run.num_parts) for row in run.thoughts(part).to_pylist()]


def notes(run: Run, kind: str) -> list[dict]:
    paths = [part_path(run.folder, kind, part) for part in range(run.num_parts + 1)]
    return [row for path in paths if path.exists() for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize("changes", [*({"user_model": kind} for kind in KINDS), {"quit": "window"}])
def test_nothing_that_happens_depends_on_thoughts(tmp_path, changes):
    without = run_of(tmp_path / "without", **changes, thoughts="none")
    for llm in ("sane", "digits"):
        thinking = run_of(tmp_path / llm, llm, **changes)
        assert thinking.page_table().equals(without.page_table()), "choices, probabilities, stars, rewards, leaving"
        assert thinking.trajectory_hash() == without.trajectory_hash()
        assert notes(thinking, MEMORIES) == notes(without, MEMORIES), "no memory holds a thought"
        assert thinking.manifest.summary.get("answers") == without.manifest.summary.get("answers")
    assert not any("thoughts" in name for name in without.manifest.summary)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sane_model_stores_a_thought_of_every_page_and_digits_store_none_and_are_counted(tmp_path, kind):
    run = run_of(tmp_path / "sane", user_model=kind)
    steps, summary = run.step_batch(), run.manifest.summary
    pages = len(steps)
    found = {(row["session"], row["page"]): row for row in rows(run) if row["kind"] == "page"}
    titles = {i: title for i, title in enumerate(pq.read_table(run.folder / "catalogue.parquet")["title"].to_pylist())}
    assert len(found) == pages
    distinct = len({row["text"] for row in found.values()})
    assert distinct > 1
    assert {name: value for name, value in summary.items() if name.startswith("thoughts_")} == {
        "thoughts_asked": pages, "thoughts_stored": pages, "thoughts_distinct": distinct, "thoughts_reasked": 0,
        "thoughts_refused": 0, "thoughts_why": {},
    }  # fmt: skip
    for row in range(pages):
        said = found[int(steps.session[row]), int(steps.page[row])]
        assert said["user"] == steps.user[row]
        assert said["text"] == f"I was glad that {titles[int(steps.items[row, 0])]} was there, it suits my mood"
    noisy = run_of(tmp_path / "digits", "digits", user_model=kind)
    assert [row for row in rows(noisy) if row["kind"] == "page"] == []
    counted = {name: value for name, value in noisy.manifest.summary.items() if name.startswith("thoughts_")}
    assert counted == {
        "thoughts_asked": pages, "thoughts_stored": 0, "thoughts_distinct": 0, "thoughts_reasked": pages,
        "thoughts_refused": pages, "thoughts_why": {"digits or signs only": pages},
    }  # fmt: skip


def test_a_model_that_says_the_same_of_every_page_is_seen_in_the_summary(tmp_path):
    """The gate lets it pass wherever its genre was shown; the number of different sentences gives it away."""
    run = run_of(tmp_path, "constant")
    summary, genres = run.manifest.summary, pq.read_table(run.folder / "catalogue.parquet")["genres"].to_pylist()
    steps = run.step_batch()
    fits = sum(any("Drama" in genres[item] for item in page) for page in steps.items.tolist())
    assert 0 < fits < len(steps)
    assert (summary["thoughts_stored"], summary["thoughts_distinct"]) == (fits, 1)
    refused = len(steps) - fits
    assert (
        f"thoughts of {len(steps)} pages: {fits} usable (1 different), {refused} refused ({refused} names nothing that "
        "was shown)"
    ) in cost_report([run])
    assert summary["thoughts_why"] == {"names nothing that was shown": len(steps) - fits}


def test_a_page_is_asked_once_again_and_then_no_more(tmp_path):
    run = run_of(tmp_path, "wavering")
    pages, summary = len(run.step_batch()), run.manifest.summary
    assert (summary["thoughts_stored"], summary["thoughts_reasked"], summary["thoughts_refused"]) == (pages, pages, 0)
    asked = [row for row in run.calls().to_pylist() if "just looked at a page" in row["system"]]
    assert len(asked) == 2 * pages


@pytest.mark.parametrize("kind", ["agent4rec:items", "recagent:text", "llm"])
def test_thoughts_are_replayed_and_a_changed_one_is_noticed(tmp_path, kind):
    run = run_of(tmp_path, user_model=kind)
    replay(run)
    path = part_path(run.folder, THOUGHTS, 1)
    table = pq.read_table(path)
    texts = table["text"].to_pylist()
    changed = table.set_column(table.schema.get_field_index("text"), table.schema.field("text"), [["No.", *texts[1:]]])
    pq.write_table(changed, path)
    with pytest.raises(RecordingError, match=r"page 1: the thought 'No\.' recorded, 'I was glad"):
        replay(run)
    path.unlink()
    with pytest.raises(RecordingError, match="the thought nothing recorded, 'I was glad"):
        replay(run)


@pytest.mark.parametrize("calls", [6, 18, 25, 38, 45])
def test_a_run_that_was_stopped_has_the_same_thoughts_to_the_byte(tmp_path, calls, monkeypatch):
    monkeypatch.setenv("RECSIM_LLM_HOME", str(tmp_path / "home"))  # no answers of other tests
    monkeypatch.setitem(CALLS_LEFT, "number", calls)
    with pytest.raises(LLMError, match="gone"):
        run_of(tmp_path / "stopped")
    monkeypatch.setitem(CALLS_LEFT, "number", 10**9)
    (resumed,) = simulate(config(), tmp_path / "stopped", resume=True, progress=False)
    whole = run_of(tmp_path / "whole")
    assert resumed.num_parts == whole.num_parts
    for part in range(whole.num_parts):
        paths = (part_path(run.folder, THOUGHTS, part) for run in (whole, resumed))
        assert len({path.read_bytes() for path in paths}) == 1
    assert {k: v for k, v in resumed.manifest.summary.items() if "thoughts" in k} == {
        k: v for k, v in whole.manifest.summary.items() if "thoughts" in k
    }


@pytest.mark.parametrize("kind", ["agent4rec:items", "recagent"])
def test_a_society_thinks_of_its_visits_and_lives_the_same_life(tmp_path, kind):
    society = {"user_model": kind, "users": 40, "rounds": 3, "pages": 2}
    without, thinking = run_of(tmp_path / "a", **society, thoughts="none"), run_of(tmp_path / "b", **society)
    assert thinking.page_table().equals(without.page_table())
    assert thinking.events().equals(without.events())
    steps = thinking.step_batch()
    places = sorted(zip(steps.session.tolist(), steps.page.tolist(), steps.user.tolist(), strict=True))
    assert places
    assert sorted((row["session"], row["page"], row["user"]) for row in rows(thinking)) == places
    replay(thinking)


@pytest.mark.parametrize(("kind", "name"), [("agent4rec:text", "feeling"), ("recagent:text", "fact")])
def test_what_agents_write_of_their_own_accord_is_stored_as_their_thought(tmp_path, kind, name):
    run = run_of(tmp_path, user_model=kind, thoughts="none")
    found = [row for row in rows(run) if row["kind"] == name]
    assert found
    kept = [(m["session"], m["page"], m["text"]) for m in notes(run, MEMORIES) if m["kind"] == name]
    assert [(row["session"], row["page"], row["text"]) for row in found] == kept, "the words that the memory holds"
    assert all(row["text"].startswith("Enjoys quiet dramas") for row in found)
    replay(run)


def test_templates_are_no_thoughts(tmp_path):
    run = run_of(tmp_path, thoughts="none")
    assert notes(run, MEMORIES)
    assert rows(run) == []


@pytest.mark.parametrize("kind", ["agent4rec:items", "llm"])
def test_an_interview_is_told_what_was_thought_up_to_its_moment(tmp_path, kind):
    run = run_of(tmp_path / "thinking", user_model=kind)
    personas, raw_ids = load_people(run.folder)
    user = int(run.step_batch().user[0])
    raw = raw_ids[[persona.user for persona in personas].index(user)]
    mine = sorted((row for row in rows(run) if row["user"] == user), key=lambda row: row["page"])
    context = interview_prompt(run, raw, "Why?").context
    assert [row["text"] in context for row in mine] == [True] * len(mine)
    early = interview_prompt(run, raw, "Why?", after=1).context
    assert mine[0]["text"] in early
    assert early.count("I was glad") == 1
    silent = run_of(tmp_path / "silent", user_model=kind, thoughts="none")
    assert "thought of pages" not in interview_prompt(silent, raw, "Why?").context


def test_formulas_think_nothing_and_say_so():
    with pytest.raises(ConfigError, match="--thoughts page: thoughts are written by a language model"):
        SimulationConfig(thoughts="page").check()


def test_the_choice_is_drawn_before_anybody_is_asked(tmp_path, monkeypatch):
    """The question says what the person did, all of it and nothing else."""
    run = run_of(tmp_path)
    steps = run.step_batch()
    asked = [row["question"] for row in run.calls().to_pylist() if "just looked at a page" in row["system"]]
    watched = sum(question.count(": watched, and gave it") for question in asked)
    assert watched == int(steps.watched.sum())
    assert sum(question.count(": not watched") for question in asked) == int((~steps.watched).sum())


def test_the_dashboard_shows_thoughts_beside_their_pages(tmp_path):
    pytest.importorskip("duckdb")
    from recsim_llm.dashboard.person import person_data, person_html
    from recsim_llm.dashboard.replay import replay_data
    from recsim_llm.dashboard.view import RunView

    run = run_of(tmp_path)
    view = RunView(run.folder)
    first = rows(run)[0]
    session = replay_data.session(view, replay_data.spans(view), first["session"])
    assert session is not None
    assert session.steps[first["page"]].thoughts == (first["text"],)
    frame = person_data.thoughts(view, first["user"])
    mine = sorted((row for row in rows(run) if row["user"] == first["user"]), key=lambda row: row["page"])
    assert frame["text"].tolist() == [row["text"] for row in mine]
    html = person_html.thought_rows(frame.assign(text="<script>x"))
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "asked after the choice" in html
    np.testing.assert_array_equal(frame["page"], [row["page"] for row in mine])
