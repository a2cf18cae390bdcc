"""Label reads under misbehaving models: asked again, counted, answered by the declared fallback."""

from __future__ import annotations

import math

import pytest

from recsim_llm.agents.reading import MAX_REASKS, AnswerCounts, ask
from recsim_llm.agents.text_reading import ask_text
from recsim_llm.llm.converse import converse
from recsim_llm.testing.scripted import ScriptedLLM
from recsim_llm.types import Completion, Prompt

PROMPT = Prompt("s", "c", "q", ("yes", "no"))
GOOD = Completion("yes", (math.log(0.6), math.log(0.2)))
BAD = [
    Completion(""),
    Completion("yes", (0.0,)),
    Completion("yes", (math.nan, -1.0)),
    Completion("yes", (-math.inf, -math.inf)),
    Completion("no idea", (-9.0, -9.0)),
    Completion("yes", (5.0, -1.0)),
    Completion("yes", (1e6, -1.0)),
]


def drive(turn, answers):
    """Feed completions, one list a round; return the result and the prompts of each round."""
    rounds = [next(turn)]
    try:
        for answer in answers:
            rounds.append(turn.send(answer))
    except StopIteration as stop:
        return stop.value, rounds
    raise AssertionError("the turn did not end")


def test_good_answers_are_normalised():
    counts = AnswerCounts()
    answers, _ = drive(ask([PROMPT], "", counts), [[GOOD]])
    assert answers[0] == pytest.approx([0.75, 0.25])
    assert (counts.asked, counts.usable, counts.malformed, counts.fallbacks) == (1, 1, 0, 0)
    assert counts.label_mass == pytest.approx(0.8)


@pytest.mark.parametrize("bad", BAD)
def test_bad_answers_are_asked_again_with_a_reminder(bad):
    counts = AnswerCounts()
    answers, rounds = drive(ask([PROMPT, PROMPT], "One of: $choices.", counts), [[bad, GOOD], [GOOD]])
    assert answers == [pytest.approx([0.75, 0.25])] * 2
    (again,) = rounds[1]
    assert again.question.endswith("One of: yes, no.")
    assert again.context == PROMPT.context, "the shared prefix stays"
    assert (counts.asked, counts.malformed, counts.reasked, counts.fallbacks) == (2, 1, 1, 0)


@pytest.mark.parametrize("bad", BAD)
def test_hopeless_answers_fall_back_and_are_counted(bad):
    counts = AnswerCounts()
    answers, rounds = drive(ask([PROMPT], "", counts), [[bad]] * (MAX_REASKS + 1))
    assert answers == [[0.5, 0.5]]
    assert len(rounds) == MAX_REASKS + 1
    assert (counts.malformed, counts.fallbacks) == (MAX_REASKS + 1, 1)


def test_minus_infinity_for_one_label_is_an_answer():
    answers, _ = drive(ask([PROMPT], "", AnswerCounts()), [[Completion("yes", (0.0, -math.inf))]])
    assert answers == [[1.0, 0.0]]


def test_a_refused_question_gets_the_fallback_and_is_not_asked_again():
    counts = AnswerCounts()
    prompts = [Prompt("", "", "Too long?", ("Yes", "No")), Prompt("", "", "Rain?", ("Yes", "No"))]
    llm = ScriptedLLM([Completion("", refused="longer than the context"), (0.9, 0.1)])
    (answers,) = converse(llm, [ask(prompts, "Again.", counts)])
    assert answers == [[0.5, 0.5], pytest.approx([0.9, 0.1])]
    assert len(llm.prompts) == 2
    assert (counts.asked, counts.usable, counts.refused, counts.malformed, counts.fallbacks) == (2, 1, 1, 0, 1)


def test_a_refused_text_is_not_asked_again():
    counts = AnswerCounts()
    llm = ScriptedLLM([Completion("", refused="longer than the context"), "fine"])
    prompts = [Prompt("", "", "Too long?"), Prompt("", "", "How are you?")]
    (answers,) = converse(llm, [ask_text(prompts, lambda text: text or None, "Again.", counts)])
    assert answers == [None, "fine"]
    assert (counts.asked, counts.usable, counts.refused, counts.malformed, counts.fallbacks) == (2, 1, 1, 0, 1)
