import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsim_llm.errors import LLMError
from recsim_llm.language import UniformLLM, converse
from recsim_llm.testing.scripted import FunctionLLM, ScriptedLLM
from recsim_llm.types import Prompt


def ask(question):
    return Prompt("", "", question)


def echo():
    return FunctionLLM(lambda prompt: prompt.question)


class Batches:
    """Remembers what came in one call."""

    def __init__(self):
        self._llm, self.batches = echo(), []
        self.usage, self.name = self._llm.usage, "batches"

    def generate(self, prompts):
        self.batches.append([p.question for p in prompts])
        return self._llm.generate(prompts)


def agent(name, sizes):
    """Asks sizes[r] questions in round r; returns what it was answered."""
    heard = []
    for number, size in enumerate(sizes):
        answers = yield [ask(f"{name}.{number}.{i}") for i in range(size)]
        heard.append([a.text for a in answers])
    return heard


plans = st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=6)


@settings(deadline=None)
@given(plans)
def test_every_agent_hears_the_answers_to_its_own_questions(plan):
    results = converse(echo(), [agent(name, sizes) for name, sizes in enumerate(plan)])
    assert results == [
        [[f"{name}.{number}.{i}" for i in range(size)] for number, size in enumerate(sizes)]
        for name, sizes in enumerate(plan)
    ]


@settings(deadline=None)
@given(plans)
def test_one_call_a_round_in_the_order_of_the_agents(plan):
    llm = Batches()
    converse(llm, [agent(name, sizes) for name, sizes in enumerate(plan)])
    rounds = [
        [f"{name}.{r}.{i}" for name, sizes in enumerate(plan) if r < len(sizes) for i in range(sizes[r])]
        for r in range(max(map(len, plan), default=0))
    ]
    assert llm.batches == [batch for batch in rounds if batch]


@settings(deadline=None)
@given(plans, st.randoms())
def test_permuting_agents_permutes_results(plan, random):
    order = random.sample(range(len(plan)), len(plan))
    straight = converse(echo(), [agent(i, plan[i]) for i in range(len(plan))])
    assert converse(echo(), [agent(i, plan[i]) for i in order]) == [straight[i] for i in order]


def test_agents_may_be_any_iterable_and_return_none():
    def quick():
        yield []

    assert converse(UniformLLM(), (quick() for _ in range(2))) == [None, None]
    assert converse(UniformLLM(), []) == []


@pytest.mark.parametrize("change", [lambda c: c[1:], lambda c: [*c, *c]])
def test_a_wrong_number_of_completions_is_an_error(change):
    class Wrong(UniformLLM):
        def generate(self, prompts):
            return change(super().generate(prompts))

    with pytest.raises(LLMError, match="asked 2 prompts"):
        converse(Wrong(), [agent("a", [2])])


def test_what_an_agent_or_the_model_raises_passes_through():
    def faulty():
        yield [ask("q")]
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        converse(echo(), [agent("a", [1, 1]), faulty()])
    with pytest.raises(LLMError, match="no answer left"):
        converse(ScriptedLLM(["one"]), [agent("a", [1, 1])])
