import json
import math
import time

import pytest

from recsim_llm.errors import ConfigError, LLMError
from recsim_llm.language import UniformLLM
from recsim_llm.language.label_reads import AnswerCounts, label_probabilities
from recsim_llm.testing.llm_contract import LLMContract
from recsim_llm.testing.scripted import FunctionLLM, MisbehavingLLM, ScriptedLLM, hash_choice_llm
from recsim_llm.types import Completion, Prompt

YES_NO = ("Yes", "No")
CHOICES = [Prompt("system", f"c{i}", "q", YES_NO) for i in range(400)]
TEXTS = [Prompt("secret rules", f"c{i}", "q") for i in range(400)]


class TestUniform(LLMContract):
    def make(self):
        return UniformLLM()


class TestHashChoice(LLMContract):
    def make(self):
        return hash_choice_llm(3)


class TestFunction(LLMContract):
    def make(self):
        return FunctionLLM(lambda p: [1 / len(p.choices)] * len(p.choices) * p.slots if p.choices else p.question)


class TestHarmlessMisbehaving(LLMContract):
    def make(self):
        return MisbehavingLLM(hash_choice_llm())


def test_uniform_is_uniform_and_fits_a_schema():
    (completion,) = UniformLLM().generate([Prompt("x" * 40, "", "", tuple("abcd"))])
    assert [math.exp(x) for x in completion.logprobs] == pytest.approx([0.25] * 4)
    assert completion.prompt_tokens == 10
    schema = {
        "type": "object",
        "properties": {
            "stars": {"type": "integer", "minimum": 1},
            "why": {"type": "string", "maxLength": 4},
            "tags": {"type": "array", "items": {"enum": ["good", "bad"]}, "minItems": 2},
            "sure": {"type": "boolean"},
        },
    }
    (completion,) = UniformLLM().generate([Prompt("", "", "", schema=json.dumps(schema))])
    assert json.loads(completion.text) == {"stars": 1, "why": "I ha", "tags": ["good", "good"], "sure": False}


def test_hash_choice_depends_on_seed_and_text_and_spreads():
    one, two = hash_choice_llm(1), hash_choice_llm(2)
    assert one.generate(CHOICES) != two.generate(CHOICES)
    first = [math.exp(c.logprobs[0]) for c in one.generate(CHOICES)]
    assert len(set(first)) == len(CHOICES)
    assert 0.4 < sum(first) / len(first) < 0.56
    (many,) = one.generate([Prompt("", "", "", tuple(map(str, range(50))))])
    assert len(set(many.logprobs)) == 50


def test_hash_choice_gives_each_slot_its_own_probabilities():
    page = CHOICES[0]._replace(slots=200)
    llm = hash_choice_llm(1)
    one, many, again = llm.generate([CHOICES[0], page, page])
    assert many == again
    assert many.logprobs[:2] == one.logprobs
    first = [math.exp(x) for x in many.logprobs[::2]]
    assert len(set(first)) == 200
    assert 0.4 < sum(first) / len(first) < 0.6
    masses = [a + math.exp(x) for a, x in zip(first, many.logprobs[1::2], strict=True)]
    assert 0.9 <= min(masses) < max(masses) <= 1
    assert many.text == " ".join(YES_NO[a < b] for a, b in zip(many.logprobs[::2], many.logprobs[1::2], strict=True))


def test_uniform_names_the_first_choice_in_every_slot():
    (answer,) = UniformLLM().generate([CHOICES[0]._replace(slots=3)])
    assert answer.text == "Yes Yes Yes"
    assert answer.logprobs == (-math.log(2),) * 6


def test_hash_choice_tells_apart_prompts_whose_parts_join_to_one_text():
    llm = hash_choice_llm()
    answers = llm.generate(
        [Prompt("ab", "c", "", YES_NO), Prompt("a", "bc", "", YES_NO), Prompt("", "ab", "c", YES_NO)]
    )
    assert len(set(answers)) == 3


def test_function_answers_by_name_by_probabilities_or_whole():
    whole = Completion("No", (-2.0, -0.1))
    for answer, text in ((whole, "No"), ([0.2, 0.7], "No"), ("Yes", "Yes")):
        (completion,) = FunctionLLM(lambda prompt, answer=answer: answer).generate(CHOICES[:1])
        assert completion.text == text
        assert len(completion.logprobs) == 2
    with pytest.raises(ConfigError, match="3 probabilities"):
        FunctionLLM(lambda prompt: [0.1, 0.2, 0.3]).generate(CHOICES[:1])


PAGE = Prompt("", "", "", ("0", "3", "5"), slots=3)


def read(completion):
    counts = AnswerCounts()
    return label_probabilities(PAGE, completion, counts), counts


def test_several_slots_are_answered_by_names_or_by_probabilities():
    by_name, by_chance = ScriptedLLM(["3 0 5", [0.1, 0.8, 0.0, 0.5, 0.3, 0.2, 0.0, 0.0, 0.9]]).generate([PAGE, PAGE])
    assert (by_name.text, by_chance.text) == ("3 0 5", "3 0 5")
    (named, _), (chances, _) = read(by_name), read(by_chance)
    assert [round(p) for p in named] == [0, 1, 0, 1, 0, 0, 0, 0, 1]
    assert chances == pytest.approx([1 / 9, 8 / 9, 0, 0.5, 0.3, 0.2, 0, 0, 1])
    with pytest.raises(ConfigError, match="3 probabilities for the 3 choices .* in 3 slots"):
        ScriptedLLM([[0.1, 0.2, 0.3]]).generate([PAGE])


@pytest.mark.parametrize("said", ["3 0", "3 0 5 5", "3 0 x", "", "no idea"])
def test_a_line_that_is_none_is_malformed_to_a_reader(said):
    found, counts = read(ScriptedLLM([said]).generate([PAGE])[0])
    assert found is None
    assert counts.malformed == 1


@pytest.mark.parametrize("act", ["malformed", "refusing"])
def test_spoilt_pages_are_malformed_to_a_reader(act):
    pages = [PAGE._replace(question=str(i)) for i in range(40)]
    llm = MisbehavingLLM(hash_choice_llm(), **{act: 0.5})
    unusable = [read(answer)[0] is None for answer in llm.generate(pages)]
    assert 0 < sum(unusable) == getattr(llm.done, act) < 40


def test_scripted_remembers_and_runs_out():
    llm = ScriptedLLM(["one", "two"])
    assert [c.text for c in llm.generate(TEXTS[:2])] == ["one", "two"]
    assert llm.prompts == TEXTS[:2]
    with pytest.raises(LLMError, match="no answer left"):
        llm.generate(TEXTS[:1])


def is_bad(completion):
    good = len(completion.logprobs) == 2 and all(math.isfinite(x) for x in completion.logprobs)
    return not good or sum(map(math.exp, completion.logprobs)) < 0.1


@pytest.mark.parametrize("act", ["malformed", "refusing"])
def test_a_share_of_label_answers_is_spoilt(act):
    llm = MisbehavingLLM(hash_choice_llm(), seed=1, **{act: 0.3})
    answers = llm.generate(CHOICES)
    spoilt = sum(map(is_bad, answers))
    assert 80 < spoilt < 160
    assert getattr(llm.done, act) == spoilt


def test_every_way_to_be_malformed_occurs():
    answers = MisbehavingLLM(UniformLLM(), malformed=1.0).generate(CHOICES)
    assert {len(a.logprobs) for a in answers} == {0, 1, 2}
    texts = MisbehavingLLM(UniformLLM(), malformed=1.0).generate(TEXTS)
    assert len({t.text for t in texts}) == 3


def test_leaking_and_refusing_texts():
    assert all("secret rules" in c.text for c in MisbehavingLLM(UniformLLM(), leaking=1.0).generate(TEXTS))
    assert all("sorry" in c.text for c in MisbehavingLLM(UniformLLM(), refusing=1.0).generate(TEXTS))


def test_mischief_depends_on_the_prompt_and_the_attempt_only():
    def llm():
        return MisbehavingLLM(hash_choice_llm(), seed=5, malformed=0.5)

    together = llm().generate(CHOICES)
    one = llm()
    alone = [one.generate([prompt])[0] for prompt in reversed(CHOICES)][::-1]
    assert [repr(a) for a in together] == [repr(a) for a in alone]
    again = llm()
    again.generate(CHOICES)
    assert [is_bad(a) for a in again.generate(CHOICES)] != [is_bad(a) for a in together]


def test_failing_fails_the_call_and_passes_when_asked_again():
    llm = MisbehavingLLM(hash_choice_llm(), failing=0.2)
    failures = 0
    for prompt in CHOICES:
        for _ in range(50):
            try:
                llm.generate([prompt])
            except LLMError:
                failures += 1
            else:
                break
        else:
            pytest.fail("never answered")
    assert 60 < failures < 150


def test_slow_is_slow_and_shares_are_checked():
    started = time.perf_counter()
    MisbehavingLLM(UniformLLM(), slow_s=0.05).generate(CHOICES[:1])
    assert time.perf_counter() - started >= 0.05
    with pytest.raises(ConfigError, match="more than 1"):
        MisbehavingLLM(UniformLLM(), failing=0.6, leaking=0.6)
