"""Bodies of requests and answers of an OpenAI-compatible server."""

import json
import math
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsim_llm.language.backends.openai.openai_wire import BodyWriter, read_answer
from recsim_llm.language.label_reads import AnswerCounts, label_probabilities
from recsim_llm.types import Prompt

YES_NO = ("Yes", "No")


def ask(question="q", **fields):
    return Prompt("system", "context", question, YES_NO, **fields)


def answer(tokens):
    top = [{"token": token, "logprob": math.log(p)} for token, p in tokens]
    return json.dumps({"choices": [{"message": {"content": ""}, "logprobs": {"content": [{"top_logprobs": top}]}}]})


def test_tokens_that_begin_one_choice_only_are_summed():
    content = answer([(" Yes", 0.3), ("Yes", 0.2), ("Ye", 0.1), ("No", 0.1), ("", 0.05), ("yes", 0.05), ("Nope", 0.01)])
    got = read_answer(content.encode(), ask(), "server")[0]
    assert [math.exp(x) for x in got.logprobs] == pytest.approx([0.6, 0.1])


def test_ambiguous_prefix_counts_for_nobody_but_equality_counts():
    content = answer([("1", 0.5), ("10", 0.2), ("Per", 0.2)])
    prompt = Prompt("", "", "", ("1", "10", "Perfect", "Perhaps"))
    probabilities = [math.exp(x) for x in read_answer(content.encode(), prompt, "server")[0].logprobs]
    assert probabilities[:2] == pytest.approx([0.5, 0.2])
    assert probabilities[2:] == pytest.approx([0.05, 0.05])


@pytest.mark.parametrize("tokens", [[("A", 0.999)], [("A", 0.5), ("B", 0.3)], [("x", 0.05)] * 20, [("x", 1.0)]])
def test_unseen_choices_get_a_bound_that_keeps_the_sum_below_one(tokens):
    prompt = Prompt("", "", "", tuple("ABCDE"))
    probabilities = [math.exp(x) for x in read_answer(answer(tokens).encode(), prompt, "server")[0].logprobs]
    assert sum(probabilities) <= 1 + 1e-9
    unseen = [p for choice, p in zip("ABCDE", probabilities, strict=True) if choice not in dict(tokens)]
    assert all(0 < p <= min(p for _, p in tokens) for p in unseen)


@pytest.mark.parametrize(
    ("tokens", "chances", "bounds", "text"),
    [
        # Nothing is left for No: 1 - (0.2 + 0.5 + 0.3).
        ([("Yes", 0.2), ("the", 0.5), ("a", 0.3)], (0.2, 1e-30), (1,), "Yes"),
        # 0.1 is left, and no token that was left out can have more than 0.05, the least that came back.
        ([("Yes", 0.05), ("the", 0.55), ("a", 0.3)], (0.05, 0.05), (1,), "Yes"),
        ([("No", 0.3), ("the", 0.69)], (0.01, 0.3), (0,), "No"),
        # 0.4 is left for two labels, each no more than 0.1: what was said is the text, for no label was seen.
        ([("the", 0.5), ("a", 0.1)], (0.1, 0.1), (0, 1), "the"),
        ([("Yes", 0.7), ("No", 0.2)], (0.7, 0.2), (), "Yes"),
    ],
)
def test_what_was_seen_is_told_from_what_is_a_bound(tokens, chances, bounds, text):
    content = answer(tokens).replace('"content": ""', '"content": "the"')
    got = read_answer(content.encode(), ask(), "server")[0]
    assert [math.exp(x) for x in got.logprobs] == pytest.approx(chances)
    assert (got.bounds, got.text) == (bounds, text)


def test_body_writer_writes_json_for_any_text():
    writer = BodyWriter('m"', 20)
    for text in ('"', "\\", "\n", "\x00", "é\u2028", "</x>"):
        body = json.loads(writer.write(Prompt(text, text, text, YES_NO)))
        assert body["messages"][1]["content"] == f"{text}\n{text}"
        assert body["model"] == 'm"'


STARS = ("0", "3", "5")


def line(tokens):
    """A server's answer of (token, top alternatives)."""
    content = [
        {"token": token, "top_logprobs": [{"token": t, "logprob": math.log(p)} for t, p in top]}
        for token, top in tokens
    ]
    text = "".join(token for token, _ in tokens)
    return json.dumps({"choices": [{"message": {"content": text}, "logprobs": {"content": content}}]}).encode()


@st.composite
def lines(draw):
    """Probabilities of each slot, and a line that says the likeliest in one of the ways tokenizers have."""
    weights = st.lists(st.integers(1, 99), min_size=3, max_size=3, unique=True)
    slots = [[w / sum(row) for w in row] for row in draw(st.lists(weights, min_size=2, max_size=5))]
    gap, glued = draw(st.sampled_from([(" ",), (",", " "), ("\n",), ()])), draw(st.booleans())
    tokens = [("\n", [("\n", 0.9)])] if draw(st.booleans()) else []
    for number, slot in enumerate(slots):
        space = " " if glued or not gap else ""
        tokens += [(each, [(each, 0.9), ("5", 0.05)]) for each in gap if number]
        names = [f"{space}{label}" for label in STARS]
        tokens.append((names[slot.index(max(slot))], list(zip(names, slot, strict=True))))
    return slots, tokens + draw(st.sampled_from([[], [(" and", [(" and", 0.5)])], [(" 3", [(" 3", 0.5)])]]))


@settings(deadline=None)
@given(lines())
def test_a_line_of_labels_is_read_however_it_is_cut_into_tokens(drawn):
    slots, tokens = drawn
    page = Prompt("", "", "", STARS, slots=len(slots))
    answer = read_answer(line(tokens), page, "server")[0]
    assert [math.exp(x) for x in answer.logprobs] == pytest.approx([p for slot in slots for p in slot])
    assert answer.text == " ".join(STARS[slot.index(max(slot))] for slot in slots)


@pytest.mark.parametrize(
    "tokens", [(), ("3",), ("3", " 0"), ("3", " or", " 0", " 5"), ("30", " 5", " 5"), ("Sure", ":")]
)
def test_a_line_with_too_few_labels_is_malformed_and_says_what_was_said(tokens):
    page = Prompt("", "", "", STARS, slots=3)
    answer = read_answer(line([(token, [(token, 0.9)]) for token in tokens]), page, "server")[0]
    assert answer.text == "".join(tokens)
    assert label_probabilities(page, answer, AnswerCounts()) is None


def test_a_label_of_a_later_slot_that_was_not_returned_gets_a_bound():
    page = Prompt("", "", "", STARS, slots=2)
    answer = read_answer(line([("3", [("3", 0.9)]), (" 5", [(" 5", 0.6), (" 3", 0.3)])]), page, "server")[0]
    chances = [math.exp(x) for x in answer.logprobs]
    assert chances == pytest.approx([0.05, 0.9, 0.05, 0.1, 0.3, 0.6])
    assert answer.bounds == (0, 2, 3)
    counts = AnswerCounts()
    assert label_probabilities(page, answer, counts) == pytest.approx([0.05, 0.9, 0.05, 0.1, 0.3, 0.6])
    assert counts == AnswerCounts(usable=1, label_reads=1, label_mass_seen=pytest.approx((0.9 + 0.9) / 2), unseen=1)


def test_the_server_of_the_benchmarks_answers_a_page(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))  # benchmarks stand beside the package
    mock = import_module("benchmarks.mock_server")
    writer = BodyWriter("m", 20)
    for slots in (1, 2, 10):
        page = Prompt("", "", 'Say "max_tokens": 99.', YES_NO, slots=slots)
        answer = read_answer(mock.answer_of(mock.max_tokens_of(writer.write(page))), page, "server")[0]
        assert answer.text == " ".join(["Yes"] * slots)
        assert label_probabilities(page, answer, AnswerCounts()) is not None
