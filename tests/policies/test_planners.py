"""All planners: the contract, the bound with a perfect model, luck with a random one, misbehaving models, any batch."""

from __future__ import annotations

import numpy as np
import planner_worlds as worlds
import pytest
from planner_worlds import CATALOGUE, HISTORIES, REWARDS, TURNS, U, World, bound, make, perfect

from recsim_llm.data.dataset import Catalogue
from recsim_llm.errors import ConfigError
from recsim_llm.language.uniform import UniformLLM
from recsim_llm.policies import POLICIES, load_policy, make_policy
from recsim_llm.policies.feedback import Learner
from recsim_llm.policies.planners.actonly import ActOnly
from recsim_llm.policies.planners.billp import BiLLP
from recsim_llm.policies.planners.react import ReAct
from recsim_llm.policies.planners.reflexion import Reflexion
from recsim_llm.policies.policy_protocol import LLMPolicy
from recsim_llm.testing.policy_contract import PolicyContract
from recsim_llm.testing.scripted import FunctionLLM, MisbehavingLLM, hash_choice_llm
from recsim_llm.types import Completion, Item

pytest.importorskip("rapidfuzz")

PLANNERS = {planner.name: planner for planner in (ActOnly, ReAct, Reflexion, BiLLP)}
NAMES = list(PLANNERS)
contract_llm = worlds.contract_llm


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    for name, planner in PLANNERS.items():
        monkeypatch.setitem(POLICIES, name, planner)


class _Contract(PolicyContract):
    @pytest.fixture(autouse=True)
    def _connected(self, contract_llm): ...


class TestActOnly(_Contract):
    name = "actonly"


class TestActOnlyCandidates(_Contract):
    name = "actonly"
    options = {"candidates": 20}


class TestReAct(_Contract):
    name = "react"


class TestReflexion(_Contract):
    name = "reflexion"


class TestBiLLP(_Contract):
    name = "billp"


class TestBiLLPCandidates(_Contract):
    name = "billp"
    options = {"candidates": 8, "micro": False}


@pytest.mark.parametrize("name", NAMES)
def test_planners_are_learners_that_ask_a_model(name):
    policy = make(name)
    assert isinstance(policy, Learner)
    assert isinstance(policy, LLMPolicy)


@pytest.mark.parametrize("page_size", [1, 3])
@pytest.mark.parametrize("candidates", [0, 26])
@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_model_reaches_the_bound(name, candidates, page_size):
    """With candidates, the bound is that of a retriever that lets everything through: 26 of 38 are not everything."""
    turns = TURNS if not candidates else 2
    world = World(list(range(U)), page_size, turns).play(make(name, perfect(), page_size, candidates=candidates))
    if not candidates:
        np.testing.assert_array_equal(world.total, bound(page_size, turns))
        return
    for user, pages in enumerate(world.pages):
        supply = [i for i in range(worlds.N) if i not in HISTORIES[user]][:26]
        best = np.sort(REWARDS[user][supply])[::-1][:page_size].sum()
        assert REWARDS[user][list(pages[0])].sum() == best


@pytest.mark.parametrize("name", NAMES)
def test_a_random_model_does_not(name):
    world = World(list(range(U))).play(make(name, hash_choice_llm(3)))
    assert world.total.mean() < 0.7 * bound().mean()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_shown_twice_and_nothing_known(name):
    world = World(list(range(U)), 2).play(make(name, hash_choice_llm(1), 2))
    for user, pages in enumerate(world.pages):
        shown = [item for page in pages for item in page]
        assert len(set(shown)) == len(shown)
        assert not set(shown) & set(HISTORIES[user])


@pytest.mark.parametrize("candidates", [0, 10])
@pytest.mark.parametrize("name", NAMES)
def test_order_of_users_changes_nothing_even_while_learning(name, candidates):
    forwards = World(list(range(U))).play(make(name, hash_choice_llm(2), candidates=candidates))
    backwards = World(list(range(U))).play(make(name, hash_choice_llm(2), candidates=candidates), list(range(U))[::-1])
    assert forwards.pages == backwards.pages


@pytest.mark.parametrize("name", NAMES)
def test_batches_change_nothing_where_nothing_is_learned(name):
    def frozen():
        policy = make(name, hash_choice_llm(2), 2)
        policy.frozen = True
        return policy

    together = World(list(range(U)), 2).play(frozen()).pages
    policy = frozen()
    assert [World([user], 2).play(policy).pages[0] for user in range(U)] == together


@pytest.mark.parametrize("candidates", [0, 10])
@pytest.mark.parametrize("name", NAMES)
def test_misbehaving_models_are_survived_and_counted(name, candidates):
    llm = MisbehavingLLM(perfect(), seed=1, malformed=0.25, refusing=0.25, leaking=0.25)
    policy = make(name, llm, 2, candidates=candidates)
    world = World(list(range(U)), 2).play(policy)
    counts = policy.counts()
    assert all(len(set(page)) == 2 for pages in world.pages for page in pages)
    assert counts["fallbacks"] > 0
    assert counts["reasked"] > counts["fallbacks"] / 2
    assert llm.done.malformed > 0
    assert counts["turns"] == sum(len(pages) for pages in world.pages)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_without_titles_leaves_everything_to_the_retriever(name):
    policy = make(name, UniformLLM(), 3)
    first = policy.act(World(list(range(U))).observation(np.arange(U)))
    retriever = make_policy("popularity", worlds.log(), CATALOGUE, 3)
    np.testing.assert_array_equal(first, retriever.act(World(list(range(U))).observation(np.arange(U))))
    assert policy.counts()["filled"] == 3 * U
    assert policy.counts()["fallbacks"] >= U


def test_a_refused_prompt_is_not_asked_again():
    llm = FunctionLLM(lambda prompt: Completion("", refused="too long"))
    policy = make("actonly", llm)
    policy.act(World([0]).observation(np.arange(1)))
    assert llm.usage.calls == 1
    assert policy.counts()["fallbacks"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_catalogue_without_titles_is_refused(name):
    bare = Catalogue(tuple(Item(i, str(i)) for i in range(worlds.N)), tuple(str(i) for i in range(worlds.N)))
    with pytest.raises(ConfigError, match=f"{name}.*titles"):
        make_policy(name, worlds.log(), bare, 1, llm=perfect())


@pytest.mark.parametrize("name", NAMES)
def test_without_a_model_the_option_is_named(name, tmp_path):
    with pytest.raises(ConfigError, match="--policy-llm"):
        make_policy(name, worlds.log(), CATALOGUE, 1)
    make(name).save(tmp_path / "p.npz")
    loaded = load_policy(tmp_path / "p.npz")
    with pytest.raises(ConfigError, match="--policy-llm"):
        loaded.act(World([0]).observation(np.arange(1)))


@pytest.mark.parametrize(
    ("option", "value"),
    [("candidates", 27), ("history", -1), ("window", 0), ("fuzzy", "x"), ("temperature", 3), ("retriever", "react")],
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(ConfigError, match=option):
        make("actonly", **{option: value})


def recording(llm):
    asked = []

    def answer(prompt):
        asked.append(prompt)
        return llm.generate([prompt])[0]

    return FunctionLLM(answer), asked


def test_prompts_of_a_session_grow_at_their_end():
    llm, asked = recording(perfect())
    World([0]).play(make("react", llm))
    contexts = list(dict.fromkeys(prompt.context for prompt in asked))
    assert len(contexts) == TURNS
    assert all(later.startswith(earlier) for earlier, later in zip(contexts, contexts[1:], strict=False))
    assert len({prompt.system for prompt in asked}) == 1


def test_a_long_session_is_bounded_in_length():
    llm, asked = recording(perfect())
    World([0], turns=20).play(make("react", llm, window=4))
    lengths = [prompt.context.count("Turn ") for prompt in asked]
    assert max(lengths) == 4
    assert lengths[-1] >= 2


def test_a_new_session_begins_anew():
    llm, asked = recording(perfect())
    policy = make("react", llm)
    World([0]).play(policy, learn=False)
    before = len(asked)
    World([0]).step(policy)
    assert "Turn 1" not in asked[before].context
    assert "Thought" not in asked[before].context


def test_seeds_of_prompts_come_from_the_policy_and_the_place():
    def seeds(seed):
        llm, asked = recording(perfect())
        World([0, 1]).play(make("react", llm, seed=seed))
        return [prompt.seed for prompt in asked]

    assert seeds(0) == seeds(0) != seeds(1)
    assert len(set(seeds(0))) == len(seeds(0))


def test_grounding_is_counted():
    def answer(prompt):
        return CATALOGUE[20].label if "turn 1." in prompt.question else "Nonsense Quux"

    policy = make("actonly", FunctionLLM(answer))
    world = World([0], turns=3)
    for _ in range(2):
        world.step(policy)
        if not world.running.any():
            break
    figures = policy.counts()
    assert figures["exact"] == 1
    assert figures["proposals"] == figures["exact"] + figures["embedding"]
    assert figures["distinct_items"] == sum(len(pages) for pages in world.pages)


def test_candidates_are_the_retrievers_best_in_a_drawn_order():
    llm, asked = recording(hash_choice_llm())
    policy = make("actonly", llm, candidates=8)
    policy.act(World([0, 1]).observation(np.arange(2)))
    lists = [[line.partition(": ")[2] for line in p.question.splitlines() if line[1:3] == ": "] for p in asked]
    assert [len(names) for names in lists] == [8, 8]
    assert lists[0] != lists[1]
    expected = {CATALOGUE[i].label for i in [i for i in range(12) if i not in HISTORIES[0]][:8]}
    assert set(lists[0]) == expected
    assert asked[0].choices == tuple("ABCDEFGH")
    assert policy.counts()["proposals"] == 0


@pytest.mark.parametrize("turns", [3, 5])
def test_sessions_longer_than_the_history_keep_their_turns_apart(turns):
    """Five pages of five items are more than the history holds: the oldest page is cut off, the others stay whole."""
    policy = make("react", perfect(), 5)
    world = World([0], 5, turns=turns + 1)
    for _ in range(turns):
        world.step(policy)
    (case,) = policy.cases(world.observation(np.arange(1)))
    shown = [tuple(item for item, _ in turn) for turn in case.turns]
    assert shown[1:] == world.pages[0][1:]
    assert shown[0] == world.pages[0][0][5 * turns - worlds.H if 5 * turns > worlds.H else 0 :]
    assert [item for item, _ in case.past] == ([*HISTORIES[0]] if 5 * turns < worlds.H else [])
    assert "Turn 2.\n" in policy.context(case, policy.visits[0])


def test_stars_and_thoughts_stand_beside_their_turn():
    llm, asked = recording(perfect())
    policy = make("react", llm)
    world = World([0])
    world.step(policy)
    world.step(policy)
    item = world.pages[0][0][0]
    line = f"Turn 1.\nThought: Something good that is not like the last ones.\n- {CATALOGUE[item].label}: 5 of 4"
    assert line in asked[-1].context
