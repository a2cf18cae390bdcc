"""LLMRank: the contract in all ways, a judge that knows is followed, forms, bootstrapping, cost, the position meter."""

from __future__ import annotations

import numpy as np
import planner_worlds as worlds
import pytest
from planner_worlds import CATALOGUE, HISTORIES, REWARDS, N, U, World, make, perfect

from recsim_llm.data.dataset import Catalogue
from recsim_llm.errors import ConfigError
from recsim_llm.language.uniform import UniformLLM
from recsim_llm.policies import POLICIES, load_policy, make_policy
from recsim_llm.policies.llmrank import LLMRank
from recsim_llm.policies.llmrank.llmrank_policy import FORMS
from recsim_llm.policies.llmrank.llmrank_ways import WAYS
from recsim_llm.testing.policy_contract import PolicyContract
from recsim_llm.testing.scripted import FunctionLLM, MisbehavingLLM
from recsim_llm.types import Item

pytest.importorskip("rapidfuzz")

contract_llm = worlds.contract_llm
TITLES = {item.label: item.id for item in CATALOGUE}


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(POLICIES, "llmrank", LLMRank)


class _Contract(PolicyContract):
    name = "llmrank"

    @pytest.fixture(autouse=True)
    def _connected(self, contract_llm): ...


class TestListwise(_Contract): ...


class TestPairwise(_Contract):
    options = {"way": "pairwise", "candidates": 5, "bootstrap": 2}


class TestPointwise(_Contract):
    options = {"way": "pointwise", "form": "in-context"}


def shown(prompt):
    """Candidates of a question, in the order shown."""
    lines = [line.partition(": ") for line in prompt.question.splitlines()]
    return [TITLES[title] for label, _, title in lines if len(label) == 1 and title in TITLES]


def judge(write=lambda title, items: title):
    """Ranks by the true rewards; `write` says how a title is written."""
    best = perfect()

    def answer(prompt):
        worth = REWARDS[best._user(prompt)]
        if prompt.choices == ("Yes", "No"):
            (item,) = (i for title, i in TITLES.items() if title in prompt.question)
            return [worth[item] / 6, 1 - worth[item] / 6]
        items = shown(prompt)
        if prompt.choices:
            return [0.9, 0.1] if worth[items[0]] > worth[items[1]] else [0.1, 0.9]
        ranked = sorted(items, key=lambda item: -worth[item])
        return "\n".join(write(CATALOGUE[item].label, items) for item in ranked)

    return FunctionLLM(answer)


def recording(llm):
    asked = []

    def answer(prompt):
        asked.append(prompt)
        return llm.generate([prompt])[0]

    return FunctionLLM(answer), asked


def page(policy, users=(0,), size=1):
    return policy.act(World(list(users), size).observation(np.arange(len(users))))


def supply(user, count=20):
    return [item for item in range(N) if item not in HISTORIES[user]][:count]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("way", "bootstrap"), [("pointwise", 1), ("pairwise", 1), ("pairwise", 2), ("listwise", 1), ("listwise", 3)]
)
def test_a_judge_who_knows_is_followed(way, form, bootstrap):
    pages = page(make("llmrank", judge(), 3, way=way, form=form, bootstrap=bootstrap), range(U), 3)
    for user, items in enumerate(pages.tolist()):
        assert set(items) <= set(supply(user))
        assert REWARDS[user][items].sum() == np.sort(REWARDS[user][supply(user)])[::-1][:3].sum()


@pytest.mark.parametrize(
    "write",
    [
        lambda title, items: f"1. {title}",
        lambda title, items: title.partition(" (")[0].upper(),
        lambda title, items: title[:-8] + title[-7:],
        lambda title, items: "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[items.index(TITLES[title])],
        lambda title, items: f"{'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[items.index(TITLES[title])]}: {title}",
    ],
)
def test_lists_are_read_however_candidates_are_named(write):
    policy = make("llmrank", judge(write), 3)
    np.testing.assert_array_equal(page(policy, range(U), 3), page(make("llmrank", judge(), 3), range(U), 3))
    assert policy.counts()["fallbacks"] == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_model_without_opinion_leaves_the_retriever_order(way):
    pages = page(make("llmrank", UniformLLM(), 3, way=way), range(U), 3)
    popular = make_policy("popularity", worlds.log(), CATALOGUE, 3)
    np.testing.assert_array_equal(pages, page(popular, range(U), 3))


def test_items_that_are_not_named_come_last_in_the_retriever_order():
    llm = FunctionLLM(lambda prompt: CATALOGUE[15].label + "\nSomething Else Altogether")
    assert page(make("llmrank", llm, 3), size=3)[0].tolist() == [15, *supply(0)[:2]]


def test_the_candidates_are_shuffled_and_every_round_otherwise():
    llm, asked = recording(judge())
    page(make("llmrank", llm, bootstrap=3))
    orders = [tuple(shown(prompt)) for prompt in asked]
    assert len(set(orders)) == 3
    assert all(sorted(order) == supply(0) for order in orders)
    assert list(orders[0]) != supply(0)


def test_pairs_are_turned_round_in_the_second_round():
    llm, asked = recording(judge())
    page(make("llmrank", llm, way="pairwise", candidates=4, bootstrap=2))
    pairs = [tuple(shown(prompt)) for prompt in asked]
    assert len(pairs) == len(set(pairs)) == 2 * 6
    assert set(pairs) == {pair[::-1] for pair in pairs}


def test_the_forms_tell_the_history_as_the_paper_does():
    contexts = {}
    for form in FORMS:
        llm, asked = recording(judge())
        page(make("llmrank", llm, form=form))
        contexts[form] = asked[0].context
    first, latest = (CATALOGUE[item].label for item in HISTORIES[0])
    assert f"1. {first}\n2. {latest}" in contexts["sequential"]
    assert f"most recent one is {latest}" in contexts["recency"]
    assert f"2. {latest}" not in contexts["in-context"]
    assert f"{latest} was the right recommendation" in contexts["in-context"]


def test_what_was_shown_and_not_taken_is_no_history():
    world = World([0])
    world.items[0, -3:] = [20, *HISTORIES[0]]
    world.stars[0, -3:] = [0, 4, 4]
    llm, asked = recording(judge())
    make("llmrank", llm).act(world.observation(np.arange(1)))
    assert CATALOGUE[20].label not in asked[0].context
    assert 20 not in shown(asked[0])


@pytest.mark.parametrize(("way", "calls"), [("pointwise", 6), ("pairwise", 15), ("listwise", 1)])
def test_the_cost_is_known_beforehand(way, calls):
    llm, asked = recording(judge())
    policy = make("llmrank", llm, way=way, candidates=6)
    observation = World([0, 1]).observation(np.arange(2))
    cost = policy.cost(observation)
    assert not asked
    policy.act(observation)
    assert cost.calls == len(asked) == 2 * calls
    letters = sum(len(p.system) + len(p.context) + len(p.question) for p in asked)
    assert cost.prompt_tokens == letters // 4
    assert cost.output_tokens == sum(1 if p.choices else p.max_tokens for p in asked)


def sensitivity(llm, way):
    policy = make("llmrank", llm, way=way)
    page(policy, range(U))
    return policy.counts()["position_sensitivity"]


def test_the_meter_of_position_tells_a_parrot_from_a_judge():
    def parrot(prompt):
        return [0.8, 0.2] if prompt.choices else "\n".join(CATALOGUE[item].label for item in shown(prompt))

    def contrary(prompt):
        return "\n".join(CATALOGUE[item].label for item in shown(prompt)[::-1])

    assert sensitivity(FunctionLLM(parrot), "listwise") == pytest.approx(1)
    assert sensitivity(FunctionLLM(contrary), "listwise") == pytest.approx(-1)
    assert sensitivity(FunctionLLM(parrot), "pairwise") == pytest.approx(0.6)
    assert abs(sensitivity(judge(), "listwise")) < 0.3
    assert abs(sensitivity(judge(), "pairwise")) < 0.3
    assert sensitivity(judge(), "pointwise") == 0


@pytest.mark.parametrize("way", WAYS)
def test_misbehaving_models_are_survived_and_counted(way):
    llm = MisbehavingLLM(judge(), seed=2, malformed=0.3, refusing=0.2, leaking=0.2)
    policy = make("llmrank", llm, 2, way=way, candidates=6)
    world = World(list(range(U)), 2, turns=3).play(policy)
    assert all(len(set(items)) == 2 for pages in world.pages for items in pages)
    assert policy.counts()["fallbacks"] > 0
    assert policy.counts()["reasked"] >= policy.counts()["fallbacks"]


def test_it_ranks_for_any_retriever_and_is_saved_with_it(tmp_path):
    policy = make("llmrank", judge(), 2, retriever="ease", seed=4)
    policy.save(tmp_path / "p.npz")
    loaded = load_policy(tmp_path / "p.npz", CATALOGUE, judge())
    assert type(loaded.retriever).name == "ease"
    assert loaded.options == policy.options
    np.testing.assert_array_equal(page(loaded, range(U), 2), page(policy, range(U), 2))


@pytest.mark.parametrize(
    "options",
    [
        {"form": "haiku"},
        {"way": "sideways"},
        {"bootstrap": 0},
        {"bootstrap": 2, "way": "pointwise"},
        {"candidates": 1},
        {"window": 3},
        {"retriever": "llmrank"},
        {"retriever": "nothing"},
    ],
)
def test_options_out_of_range_are_named(options):
    with pytest.raises(ConfigError, match=str(next(iter(options)) if "nothing" not in options.values() else "nothing")):
        make("llmrank", judge(), **options)


def test_a_catalogue_without_titles_is_refused():
    bare = Catalogue(tuple(Item(i, str(i)) for i in range(N)), tuple(str(i) for i in range(N)))
    with pytest.raises(ConfigError, match="titles"):
        make_policy("llmrank", worlds.log(), bare, 1, llm=judge())
