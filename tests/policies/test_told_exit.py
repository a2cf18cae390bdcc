"""What planners are told of when people leave: nothing by default, and one sentence for all when switched on."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import planner_worlds as worlds
import pytest
from planner_worlds import World, make

from recsim_llm.agents.long_term.quit_rule import QuitRule
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.experiments.studies.run_study import run_study
from recsim_llm.experiments.studies.study import Study, StudyEntry
from recsim_llm.experiments.studies.study_report import write_report
from recsim_llm.experiments.studies.study_table import text_table
from recsim_llm.policies import load_policy
from recsim_llm.policies.planners.texts import exit_sentence
from recsim_llm.testing.scripted import FunctionLLM

pytest.importorskip("rapidfuzz")

NAMES = ("actonly", "react", "reflexion", "billp", "llmrank")
RULE = QuitRule(window=6, nearest=0.2, low_reward=2.5)
SENTENCE = (
    "The person leaves when a title is too much like one of the last 6 that were shown, or when the best rating of a "
    "turn is below 2.5 of 4 stars."
)
OF_THE_RULE = re.compile(r"window|alike|too much like|leav|bored|quit", re.IGNORECASE)


def asked_by(policy) -> list:
    """All prompts of two whole sessions of everybody, with what is learned from the first."""
    prompts, answer = [], worlds.hash_choice_llm(4)

    def record(prompt):
        prompts.append(prompt)
        return answer.generate([prompt])[0]

    policy.connect(FunctionLLM(record), worlds.CATALOGUE)
    World([0, 1, 2]).play(policy)
    World([3, 4]).play(policy)
    return prompts


@pytest.mark.parametrize("candidates", [0, 8])
@pytest.mark.parametrize("name", NAMES)
def test_by_default_no_prompt_holds_a_word_of_the_rule(name, candidates):
    prompts = asked_by(make(name, candidates=candidates or (2 if name == "llmrank" else 0)))
    assert prompts
    for prompt in prompts:
        found = OF_THE_RULE.search(f"{prompt.system} {prompt.question} {prompt.schema}")
        assert not found, f"{found} in {prompt}"


@pytest.mark.parametrize("name", NAMES)
def test_switched_on_every_prompt_of_every_planner_holds_the_same_sentence(name, tmp_path):
    policy = make(name)
    policy.tell_exit(RULE, True)
    prompts = asked_by(policy)
    assert prompts
    assert all(prompt.system.count(SENTENCE) == 1 for prompt in prompts)
    policy.save(tmp_path / "policy.npz")
    again = load_policy(tmp_path / "policy.npz", worlds.CATALOGUE, worlds.perfect())
    assert {prompt.system for prompt in asked_by(again)} == {prompt.system for prompt in prompts}, "a file keeps it"


@pytest.mark.parametrize(
    ("rule", "page_size", "sentence"),
    [
        (
            QuitRule(),
            1,
            "a title is too much like one of the last 4 that were shown, or when the best rating of a turn is below 2 "
            "of 5 stars",
        ),
        (QuitRule(window=9, low_reward=0.0), 1, "a title is too much like one of the last 9 that were shown"),
        (
            QuitRule(nearest=0.0, repeats=1, window=7, low_reward=0.0),
            1,
            "a title is of a genre that came more than 1 times among the last 7 that were shown",
        ),
        (QuitRule(nearest=0.0, low_reward=3.0), 1, "the best rating of a turn is below 3 of 5 stars"),
        (
            QuitRule(share=0.25, low_reward=0.0),
            8,
            "at least 25 % of the titles of a turn are too much like one of the last 4 that were shown",
        ),
        (QuitRule(nearest=0.0, low_reward=0.0, hazard=True), 1, "they have had enough for today"),
    ],
)
def test_the_sentence_is_filled_from_the_rule(rule, page_size, sentence):
    assert exit_sentence(rule, page_size, 5.0) == f"The person leaves when {sentence}."


def test_a_rule_that_never_holds_is_told_as_such():
    never = QuitRule(nearest=0.0, low_reward=0.0)
    assert exit_sentence(never, 1, 5.0) == "No title makes the person leave."


def test_a_planners_own_option_goes_before_the_setting():
    told, untold = make("react", tell_exit=True), make("react", tell_exit=False)
    told.tell_exit(RULE, False)
    untold.tell_exit(RULE, True)
    assert (told.exit_rule, untold.exit_rule) == (SENTENCE, "")
    assert (told.counts()["told_exit"], untold.counts()["told_exit"]) == (1.0, 0.0)


def test_what_cannot_be_told_is_refused():
    with pytest.raises(ConfigError, match="--quit window"):
        make("react").tell_exit(None, True)
    policy = make("react", tell_exit=True)
    with pytest.raises(ConfigError, match=r"tell_exit\(rule, True\)"):
        policy.act(World([0]).observation(np.array([0])))
    for wrong in (SimulationConfig(tell_exit=True), SimulationConfig(policies=("react?tell_exit=true",))):
        with pytest.raises(ConfigError, match="--quit window"):
            wrong.check()


@pytest.mark.parametrize("tell_exit", [False, True])
def test_a_simulation_tells_all_its_planners_or_none(tmp_path, tell_exit):
    names = ("actonly", "billp?candidates=3")
    config = SimulationConfig(
        policies=names, policy_llm="uniform", quit="window?window=6", tell_exit=tell_exit, users=3, pages=3, page_size=1
    )
    for run in simulate(config, tmp_path, progress=False):
        systems = set(run.calls(["system"])["system"].to_pylist())
        assert {"one of the last 6 that were shown" in system for system in systems} == {tell_exit}
        assert run.manifest.summary["policy"]["told_exit"] == float(tell_exit)


def test_a_study_whose_rows_differ_says_so_and_one_whose_rows_do_not_is_silent(tmp_path):
    entries = (StudyEntry("random"), StudyEntry("actonly?candidates=3"), StudyEntry("react?candidates=3"))
    study = Study("told", entries, users=3, seeds=1, pages=3, policy_llm="uniform", tell_exit=True)
    equal = run_study(study, tmp_path / "equal", progress=False)
    assert "told the rule" not in text_table(equal)
    assert "planners are told the quit rule: yes" in write_report(study, equal, tmp_path / "equal")[1].read_text()
    mixed = replace(study, entries=(*entries, StudyEntry("react?candidates=3&tell_exit=false")))
    rows = run_study(mixed, tmp_path / "mixed", progress=False)
    lines = text_table(rows).split("\n\n")[0].splitlines()
    assert lines[0].rstrip(" |").endswith("told the rule")
    assert [line.split("|")[-2].strip() for line in lines[2:]] == ["", "yes", "yes", "no"]
    assert "they are no equals" in write_report(mixed, rows, tmp_path / "mixed")[1].read_text()


def test_a_study_of_before_the_switch_goes_on_without_planners_and_not_with_them(tmp_path):
    """Its planners were told: their rows must not be joined by rows that were not."""
    study = Study("old", (StudyEntry("random"),), users=3, seeds=1, pages=2)
    for entries, refused in (((), False), ((StudyEntry("actonly?candidates=3"),), True)):
        mine = replace(study, entries=(*study.entries, *entries), policy_llm="uniform" if entries else "")
        folder = tmp_path / f"{refused}"
        run_study(mine, folder, progress=False)
        path = folder / "study.json"
        before = {name: value for name, value in json.loads(path.read_text()).items() if name != "tell_exit"}
        path.write_text(json.dumps(before))
        if refused:
            with pytest.raises(RecordingError, match="tell_exit"):
                run_study(mine, folder, progress=False)
        else:
            assert len(run_study(mine, folder, progress=False)) == 1
