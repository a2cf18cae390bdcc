"""BiLLP: numbers of critic and actor against the formula, memories, reflections, the genre tool, ablations, files."""

from __future__ import annotations

import numpy as np
import pytest
from planner_worlds import CATALOGUE, HISTORIES, REWARDS, U, World, make, perfect

from recsim_llm.errors import ConfigError
from recsim_llm.policies import POLICIES, load_policy
from recsim_llm.policies.feedback import Feedback
from recsim_llm.policies.planners.billp import BiLLP
from recsim_llm.policies.planners.memories import MemoryEntry, VectorMemory
from recsim_llm.testing.scripted import FunctionLLM

pytest.importorskip("rapidfuzz")


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(POLICIES, "billp", BiLLP)


def model(digit=lambda prompt: 6):
    """A perfect actor whose critic gives digits, and whose reflector writes one sentence."""
    asked, best = [], perfect()

    def answer(prompt):
        asked.append(prompt)
        if prompt.choices == tuple("0123456789"):
            chances = np.full(10, 1e-9)
            chances[digit(prompt)] = 1.0
            return chances
        if "session is over" in prompt.question:
            return "Vary the genres more."
        return best.generate([prompt])[0]

    return FunctionLLM(answer), asked


TOP = 4.0  # of the log; gamma 0.5: the scale of values is 8
SIX, THREE = 6 / 9 * 8, 3 / 9 * 8


def test_the_critic_learns_r_plus_gamma_v_next_as_a_number_and_the_actor_the_advantage():
    llm, _ = model(lambda prompt: 3 if "Turn 1." in prompt.context else 6)
    policy = make("billp", llm)
    world = World([0], turns=2).play(policy)
    first, last = (REWARDS[0, page[0]] for page in world.pages[0])
    targets = [entry.value for entry in policy.critic.entries]
    np.testing.assert_allclose(targets, [first + 0.5 * THREE, last])
    advantages = [entry.value for entry in policy.actor.entries]
    np.testing.assert_allclose(advantages, [first + 0.5 * THREE - SIX, last - THREE])
    assert [entry.item for entry in policy.actor.entries] == [page[0] for page in world.pages[0]]


def test_every_person_is_told_their_own_reward():
    """In the release, the reward of the last person of a batch went to everybody."""
    policy = make("billp", model()[0], gamma=0.0)
    policy.act(World([0, 1, 2]).observation(np.arange(3)))
    pages, rewards = np.array([[20], [21], [22]]), np.array([5.0, 1.0, 3.0])
    everything = np.ones((3, 1), dtype=bool)
    policy.learn(Feedback(np.arange(3), pages, everything, rewards[:, None], rewards, np.zeros(3, dtype=bool)))
    assert [entry.value for entry in policy.critic.entries] == rewards.tolist()
    assert [entry.item for entry in policy.actor.entries] == [20, 21, 22]


def test_a_turn_takes_three_calls_and_an_ending_one_more():
    llm, asked = model()
    World([0], turns=3).play(make("billp", llm))
    # Thought and action a turn; a value before the first turn and one between turns; one reflection.
    assert len(asked) == 2 * 3 + 3 + 1


def test_lessons_reach_people_who_are_alike():
    llm, asked = model()
    policy = make("billp", llm)
    World([0], turns=1).play(policy)
    assert [entry.text for entry in policy.lessons.entries] == ["Vary the genres more."]
    before = len(asked)
    World([0]).step(policy)
    assert "Vary the genres more." in asked[before].context


def test_unseen_genres_are_genres_that_have_not_come():
    llm, asked = model()
    policy = make("billp", llm)
    World([0]).step(policy)
    seen = {genre for item in HISTORIES[0] for genre in CATALOGUE[item].genres}
    hint = next(p.question for p in asked if "have not come yet" in p.question)
    named = set(hint.partition("have not come yet: ")[2].partition(".")[0].split(", "))
    assert len(named) == 2
    assert named <= set(CATALOGUE.genres) - seen


def test_the_actor_advises_by_the_sign_of_the_advantage_and_only_what_is_allowed():
    llm, asked = model()
    policy = make("billp", llm)
    policy.act(World([0]).observation(np.arange(1)))
    here = policy._vector(policy.visits[0].case)
    policy.actor.add(
        [
            MemoryEntry(here, item=30, value=2.0),
            MemoryEntry(here, item=31, value=-1.0),
            MemoryEntry(here, item=0, value=9.0),
        ]
    )
    before = len(asked)
    policy.act(World([0]).observation(np.arange(1)))
    question = asked[before + 1].question
    assert f"went well: {CATALOGUE[30].label}." in question
    assert f"went badly: {CATALOGUE[31].label}." in question
    assert CATALOGUE[0].label not in question


def test_a_remembered_value_is_told_to_the_critic():
    llm, asked = model()
    policy = make("billp", llm)
    for _ in range(2):
        World([0], turns=1).play(policy)
    told = [p.question for p in asked if p.choices and "turned out to be worth" in p.question]
    reward = policy.critic.entries[0].value
    assert told
    assert f"worth {9 * reward / 8:.0f} of 9" in told[0]


@pytest.mark.parametrize(("macro", "micro"), [(False, True), (True, False), (False, False)])
def test_ablations_ask_and_keep_less(macro, micro):
    llm, asked = model()
    policy = make("billp", llm, macro=macro, micro=micro)
    for _ in range(2):
        World([0], turns=2).play(policy)
    assert (len(policy.lessons) > 0) == macro == any("session is over" in p.question for p in asked)
    assert (len(policy.actor) > 0) == (len(policy.critic) > 0) == micro
    assert any(p.choices for p in asked) == micro
    assert any("Lessons" in p.context for p in asked) == macro
    assert any("In such a situation" in p.question for p in asked) <= micro


def test_a_frozen_policy_learns_nothing_and_asks_no_critic():
    llm, asked = model()
    policy = make("billp", llm)
    policy.frozen = True
    World([0, 1], turns=2).play(policy)
    assert len(policy.lessons) == len(policy.actor) == len(policy.critic) == 0
    assert not any(p.choices for p in asked)
    assert not policy.visits


def test_what_is_learned_does_not_depend_on_the_order_of_people():
    def learned(order):
        policy = make("billp", model()[0])
        World(list(range(U)), turns=3).play(policy, order)
        return [memory.entries for memory in (policy.lessons, policy.actor, policy.critic)]

    for ours, theirs in zip(learned(None), learned([5, 3, 1, 0, 2, 4]), strict=True):
        assert [entry[1:] for entry in ours] == [entry[1:] for entry in theirs]


def test_acting_reads_memories_and_does_not_change_them():
    policy = make("billp", model()[0])
    World([0], turns=2).play(policy)
    before = {key: array.copy() for key, array in policy.memories().items()}
    World([0, 1]).step(policy, learn=False)
    for key, array in policy.memories().items():
        np.testing.assert_array_equal(array, before[key])


def test_memories_are_saved_as_plain_arrays(tmp_path):
    llm, _ = model()
    policy = make("billp", llm)
    World(list(range(U)), turns=3).play(policy)
    policy.save(tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz", allow_pickle=False) as file:
        assert file["fitted_lessons_texts"].dtype.kind == "U"
        assert file["fitted_critic_vectors"].dtype == np.float32
    loaded = load_policy(tmp_path / "p.npz", CATALOGUE, llm)
    for key, array in policy.memories().items():
        np.testing.assert_array_equal(loaded.memories()[key], array)
    assert World([0, 1]).play(loaded).pages == World([0, 1]).play(policy).pages


def test_a_memory_is_bounded_and_finds_the_nearest_newest_first():
    memory, rng = VectorMemory(5), np.random.default_rng(0)
    vectors = rng.normal(size=(9, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    memory.add([MemoryEntry(vector, value=float(i)) for i, vector in enumerate(vectors)])
    assert [entry.value for entry in memory.entries] == [4, 5, 6, 7, 8]
    gaps = 1 - vectors[4:] @ vectors[6]
    assert [e.value for e in memory.nearest(vectors[6], 5, 2.0)] == (4 + np.argsort(gaps)).tolist()
    assert [e.value for e in memory.nearest(vectors[6], 5, 1e-4)] == [6]
    memory.add([MemoryEntry(vectors[6], value=99.0)])
    assert [e.value for e in memory.nearest(vectors[6], 2, 1e-4)] == [99, 6]
    assert memory.nearest(np.zeros(4, np.float32), 2, 2.0) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [("gamma", 1.0), ("lessons", 0), ("memory", 0), ("actor_within", 3), ("macro", "no"), ("recent", 0)],
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(ConfigError, match=option):
        make("billp", **{option: value})


def test_unusable_values_fall_back_and_are_counted():
    best = perfect()
    llm = FunctionLLM(lambda p: [1e-9] * 10 if len(p.choices) == 10 else best.generate([p])[0])
    policy = make("billp", llm, macro=False)
    world = World([0], turns=1).play(policy)
    assert policy.counts()["fallbacks"] == 1
    reward = REWARDS[0, world.pages[0][0][0]]
    assert policy.actor.entries[0].value == pytest.approx(reward - 8 / 2)
