"""Prompts from a folder: what they change, what is refused, and that a run keeps them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from recsim_llm.agents.llm.kind_texts import MOST_TEXT, KindTexts, read_kind_texts
from recsim_llm.agents.llm.prompts_text import file_names, prompt_text
from recsim_llm.agents.named_users import check_user_model, learned_identity, model_fingerprint
from recsim_llm.agents.population import make_population
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.replay import replay
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.runs import Run
from recsim_llm.runs.manifest import read_manifest
from recsim_llm.testing.scripted import hash_choice_llm
from recsim_llm.types import Prompt, Responses

TAKERS = ("agent4rec", "recagent", "dialogue")
MINE = "You are a very particular person."


def folder(path, **texts):
    path.mkdir(exist_ok=True)
    for name, text in texts.items():
        (path / f"{name}.md").write_text(text, encoding="utf-8")
    return path


def prompts(user_model):
    """All that a model is asked by one person who sees two pages."""
    llm, heard = hash_choice_llm(0), list[Prompt]()
    answer = llm.generate

    def generate(asked):
        heard.extend(asked)
        return answer(asked)

    llm.generate = generate
    users = make_population("synthetic", user_model, llm).users
    heard.clear()
    me = np.array([3])
    users.reset(me, np.array([5]), np.array([9], dtype=np.uint64))
    for page in ([[0, 1, 2, 3]], [[4, 5, 6, 7]]):
        users.react(me, np.array(page))
        stars = np.array([[4.0, 0.0, 0.0, 0.0]])
        users.observe(me, np.array(page), Responses(stars > 0, stars))
    return heard


@pytest.mark.parametrize("kind", ["agent4rec", "agent4rec:text,genres", "recagent"])
def test_a_file_changes_its_own_text_and_no_other(tmp_path, kind):
    own = folder(tmp_path / "mine", system=MINE)
    packaged = prompt_text(kind.partition(":")[0], "system")
    plain, changed = prompts(kind), prompts(f"{kind}?prompts={own}")
    assert any(packaged in prompt.system for prompt in plain)
    assert changed == [prompt._replace(system=prompt.system.replace(packaged, MINE)) for prompt in plain]


def test_dialogue_takes_its_placeholders_too(tmp_path):
    own = folder(tmp_path / "mine", system="One number of 0..$top a title.")
    asked = prompts(f"dialogue?prompts={own}")
    assert {prompt.system for prompt in asked} == {"One number of 0..5 a title."}
    assert [p._replace(system="") for p in asked] == [p._replace(system="") for p in prompts("dialogue")]


def test_a_phrase_changes_and_the_others_stay(tmp_path):
    own = folder(tmp_path / "mine", phrases="nothing: Not a thing.\n\n")
    (plain, *_), (changed, *_) = prompts("agent4rec:genres"), prompts(f"agent4rec:genres?prompts={own}")
    assert "Nothing yet." in plain.context
    assert changed == plain._replace(context=plain.context.replace("Nothing yet.", "Not a thing."))


def test_a_question_with_placeholders_changes(tmp_path):
    own = folder(tmp_path / "mine", page_labels="Look:\n$items\n$count numbers from 0 to ${top}.")
    asked = prompts(f"agent4rec:genres?prompts={own}")
    assert all(prompt.question.startswith("Look:\n1. ") for prompt in asked)
    assert all(prompt.question.endswith("4 numbers from 0 to 5.") for prompt in asked)


@pytest.mark.parametrize("kind", TAKERS)
def test_the_package_s_own_texts_from_a_folder_are_the_package_s(tmp_path, kind):
    own = folder(tmp_path / "mine", **{name: prompt_text(kind, name) for name in file_names(kind)})
    assert prompts(f"{kind}?prompts={own}") == prompts(kind)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("systen.md", "Hello", r"systen.md is no file of prompts. Files of 'agent4rec': context.md, .*taste_system.md"),
        ("system.txt", "Hello", "no file of prompts"),
        ("context.md", "$tastes $rating$traits", r"context.md: the placeholder \$memory is missing. It has \$tastes"),
        ("context.md", "$tastes $rating$traits $memory $age", r"unknown placeholder \$age. It has \$tastes, \$rating"),
        ("taste.md", "$rated for $5", r"taste.md: a '\$' that begins no placeholder"),
        ("system.md", "Hello $name", r"unknown placeholder \$name. It has no placeholder"),
        ("phrases.md", "nothing: a\nnothin: b", "phrases.md: there is no phrase 'nothin'"),
        ("phrases.md", "nothing: a\nnothing: b", "'nothing' is there twice"),
        ("phrases.md", "watched: I did.", r"phrases.md, 'watched': the placeholder \$items is missing"),
        ("system.md", "a" * (MOST_TEXT + 1), "system.md has more than 65,536 bytes"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path, name, text, message):
    (folder(tmp_path / "mine") / name).write_text(text, encoding="utf-8")
    for user_model in (f"agent4rec?prompts={tmp_path / 'mine'}", f"hybrid:agent4rec:items?prompts={tmp_path / 'mine'}"):
        with pytest.raises(ConfigError, match=message):
            check_user_model(user_model)


def test_folders_that_cannot_be_read_are_refused(tmp_path):
    (folder(tmp_path / "latin") / "system.md").write_bytes(b"caf\xe9")
    (folder(tmp_path / "deep") / "system.md").mkdir()
    folder(tmp_path / "empty")
    for name, message in (
        ("latin", "system.md cannot be read as text in UTF-8"),
        ("deep", "system.md is no file of prompts"),
        ("empty", "holds no text"),
        ("missing", "missing is no folder that can be read"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_user_model(f"agent4rec?prompts={tmp_path / name}")
    for value in ("", "7"):
        with pytest.raises(ConfigError, match="prompts"):
            check_user_model(f"agent4rec?prompts={value}")


def test_kinds_that_take_none_say_which_do(tmp_path):
    with pytest.raises(ConfigError, match=r"'agentcf' takes no prompts .* These do: agent4rec, recagent, dialogue\."):
        check_user_model(f"agentcf?prompts={tmp_path}")


def test_windows_lines_and_marks_are_read_as_others(tmp_path):
    (folder(tmp_path / "mine") / "taste.md").write_bytes(b"\xef\xbb\xbfThese:\r\n$rated\r\n")
    assert read_kind_texts("agent4rec", str(tmp_path / "mine")) == KindTexts("agent4rec", {"taste": "These:\n$rated"})


@pytest.mark.parametrize("name", ["system", "reflect"])  # the fingerprint's page asks the first, not the second
def test_another_text_is_another_identity(tmp_path, name):
    own = folder(tmp_path / "mine", **{name: MINE})
    user_model = f"agent4rec:items?prompts={own}"
    plain, first = model_fingerprint("agent4rec:items"), model_fingerprint(user_model)
    again = model_fingerprint(user_model)
    folder(own, **{name: "Another text."})
    second = model_fingerprint(user_model)
    assert first == again
    assert len({plain, first, second}) == 3
    hybrid = learned_identity("synthetic", f"hybrid:{user_model}", "uniform")
    assert hybrid.fingerprint == second


def run_of(tmp_path, out, own, resume=False):
    name = f"agent4rec:items,genres?prompts={own}"
    config = SimulationConfig(
        dataset="synthetic", policies=("popularity",), users=2, pages=2, page_size=3, user_model=name, llm="uniform"
    )
    return simulate(config, tmp_path / out, resume=resume, progress=False)[0]


def test_a_run_keeps_its_texts_and_replays_by_them(tmp_path):
    own = folder(tmp_path / "mine", system=MINE, phrases="nothing: Not a thing.")
    run = run_of(tmp_path, "a&b", own)  # an ampersand separates options
    assert (run.folder / "prompts" / "system.md").read_text() == f"{MINE}\n"
    assert set(read_manifest(run.folder).files) >= {"prompts/system.md", "prompts/phrases.md"}
    first = replay(run)
    folder(own, system="Something else.")
    assert replay(Run(run.folder)) == first
    shutil.rmtree(own)
    assert replay(Run(run.folder)) == first
    shutil.copytree(run.folder / "prompts", own)
    assert run_of(tmp_path, "again", own).trajectory_hash() == run.trajectory_hash()


def test_a_run_is_not_gone_on_with_by_other_texts(tmp_path):
    own = folder(tmp_path / "mine", system=MINE)
    run = run_of(tmp_path, "out", own)
    assert run_of(tmp_path, "out", own, resume=True).trajectory_hash() == run.trajectory_hash()
    folder(own, system="Something else.")
    with pytest.raises(RecordingError, match=r"other texts of prompts \(prompts/system.md\)"):
        run_of(tmp_path, "out", own, resume=True)
    folder(own, system=MINE, remind="Again.")
    with pytest.raises(RecordingError, match=r"\(prompts/remind.md\)"):
        run_of(tmp_path, "out", own, resume=True)


def test_a_changed_text_in_a_run_is_noticed_and_written_again(tmp_path):
    own = folder(tmp_path / "mine", system=MINE)
    run = run_of(tmp_path, "out", own)
    (run.folder / "prompts" / "system.md").write_text("Forged.\n", encoding="utf-8")
    with pytest.raises(RecordingError, match="not what the run wrote"):
        replay(Run(run.folder))
    again = run_of(tmp_path, "out", own, resume=True)
    assert (again.folder / "prompts" / "system.md").read_text() == f"{MINE}\n"
    assert replay(again).trajectory_hash == run.trajectory_hash()
