"""Label reads under misbehaving models: asked again, counted, answered by the declared fallback."""

from __future__ import annotations

import math

import pytest

from recsim_llm.language.converse import converse
from recsim_llm.language.label_read_batches import ask_rows
from recsim_llm.language.label_reads import MAX_REASKS, AnswerCounts, ask, label_probabilities, unseen_labels
from recsim_llm.language.text_reads import ask_text
from recsim_llm.policies.planners.asking import AskingCounts, ask_label
from recsim_llm.testing.scripted import FunctionLLM, ScriptedLLM
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
    assert (counts.label_reads, counts.unseen) == (1, 0)
    assert counts.label_mass_seen == pytest.approx(0.8)


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


def log_all(*chances):
    return tuple(math.log(chance) for chance in chances)


@pytest.mark.parametrize(
    ("chances", "bounds", "found", "seen"),
    [
        # Yes 0.2, the 0.5, a 0.2 came back: 0.1 is left for No, and fills the distribution.
        ((0.2, 0.1), (1,), [2 / 3, 1 / 3], 0.2),
        ((0.012, 0.012), (1,), [0.5, 0.5], 0.012),
        # Seen and bound together reach the gate; what was seen does not.
        ((0.009, 0.009), (1,), None, 0.009),
        ((0.4, 0.4), (0, 1), None, 0.0),
        ((0.7, 0.2), (), [7 / 9, 2 / 9], 0.9),
    ],
)
def test_the_gate_is_on_what_was_seen(chances, bounds, found, seen):
    counts = AnswerCounts()
    got = label_probabilities(PROMPT, Completion("yes", log_all(*chances), bounds=bounds), counts)
    assert got == (None if found is None else pytest.approx(found))
    usable = found is not None
    assert counts == AnswerCounts(
        usable=int(usable),
        malformed=int(not usable),
        label_reads=1,
        label_mass_seen=pytest.approx(seen),
        unseen=int(bool(bounds)),
    )


def test_every_slot_must_have_been_seen():
    page = PROMPT._replace(slots=2)
    chances = log_all(0.6, 0.3, 0.2, 0.2)
    assert label_probabilities(page, Completion("", chances, bounds=(1, 3)), AnswerCounts()) is not None
    counts = AnswerCounts()
    assert label_probabilities(page, Completion("", chances, bounds=(2, 3)), counts) is None
    assert counts == AnswerCounts(malformed=1, label_reads=1, label_mass_seen=pytest.approx(0.9 / 2), unseen=1)


@pytest.mark.parametrize("reader", [ask, ask_rows])
def test_a_model_that_never_says_a_label_is_malformed_every_time_and_a_perfect_one_never(reader):
    silent = FunctionLLM(lambda prompt: Completion("The", log_all(0.3, 0.3), bounds=(0, 1)))
    perfect = FunctionLLM(lambda prompt: Completion("yes", (math.log(0.75), math.log(0.25))))
    prompts = [PROMPT._replace(question=f"q{i}") for i in range(40)]
    counts, good = AnswerCounts(), AnswerCounts()
    (answers,) = converse(silent, [reader(prompts, "", counts)])
    assert [list(answer) for answer in answers] == [[0.5, 0.5]] * 40
    reads = 40 * (1 + MAX_REASKS)
    assert counts == AnswerCounts(
        asked=40, malformed=reads, reasked=reads - 40, fallbacks=40, label_reads=reads, unseen=reads
    )
    assert "In 100% of the 120 label reads" in unseen_labels({"label_reads": counts.label_reads, "unseen": reads})
    (answers,) = converse(perfect, [reader(prompts, "", good)])
    assert [list(answer) for answer in answers] == [pytest.approx([0.75, 0.25])] * 40
    assert good == AnswerCounts(asked=40, usable=40, label_reads=40, label_mass_seen=pytest.approx(40.0))


@pytest.mark.parametrize(("unseen", "said"), [(0, False), (5, False), (6, True), (100, True)])
def test_more_than_one_label_read_in_twenty_without_a_label_is_said(unseen, said):
    sentence = unseen_labels({"label_reads": 100, "unseen": unseen})
    assert bool(sentence) == said
    assert not said or ("top_logprobs=20" in sentence and "vLLM" in sentence)


def test_a_summary_without_label_reads_says_nothing():
    assert unseen_labels({}) == unseen_labels({"asked": 5, "usable": 5, "label_mass": 4.5}) == ""


@pytest.mark.parametrize(("seen", "found"), [(0.002, True), (0.0006, False)])
def test_planners_go_by_what_was_seen_too(seen, found):
    llm = FunctionLLM(lambda prompt: Completion("yes", log_all(seen, 0.0006), bounds=(1,)))
    counts = AskingCounts()
    (got,) = converse(llm, [ask_label(PROMPT, "Again.", counts)])
    assert (got is not None) == found
    reads = 1 if found else 2
    assert (counts.label_reads, counts.unseen, counts.fallbacks) == (reads, reads, int(not found))
