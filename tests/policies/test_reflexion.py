"""Reflexion: a lesson a session, kept per person, read in the person's next session, saved, and not while frozen."""

from __future__ import annotations

import pytest
from planner_worlds import CATALOGUE, World, make, perfect

from recsim_llm.policies import POLICIES, load_policy
from recsim_llm.policies.planners.reflexion import KEPT, Reflexion
from recsim_llm.testing.scripted import FunctionLLM

pytest.importorskip("rapidfuzz")


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(POLICIES, "reflexion", Reflexion)


def reflecting():
    """A perfect model that writes numbered lessons."""
    asked, best = [], perfect()

    def answer(prompt):
        asked.append(prompt)
        if "session is over" in prompt.question:
            return f"Lesson {sum('session is over' in p.question for p in asked)} learned here"
        return best.generate([prompt])[0]

    return FunctionLLM(answer), asked


def test_a_lesson_is_written_when_the_session_ends_and_read_by_its_person_only():
    llm, asked = reflecting()
    policy = make("reflexion", llm)
    World([0], turns=3).play(policy)
    assert policy.lessons == {0: ("Lesson 1 learned here",)}
    before = len(asked)
    World([0, 1], turns=2).step(policy)
    later = asked[before:]
    assert [("Lesson 1" in prompt.context) for prompt in later] == [True, False] * 2


def test_the_reflector_reads_the_last_page_and_the_whole_session():
    llm, asked = reflecting()
    world = World([0], turns=3).play(make("reflexion", llm))
    (prompt,) = [p for p in asked if "session is over" in p.question]
    for page in world.pages[0][:-1]:
        assert CATALOGUE[page[0]].label in prompt.context
    assert CATALOGUE[world.pages[0][-1][0]].label in prompt.question
    assert "after 3 turns" in prompt.question


def test_lessons_are_bounded_and_a_frozen_policy_writes_none():
    llm, _ = reflecting()
    policy = make("reflexion", llm)
    for _ in range(KEPT + 2):
        World([0], turns=1).play(policy)
    assert policy.lessons[0] == tuple(f"Lesson {i} learned here" for i in range(3, KEPT + 3))
    policy.frozen = True
    World([0, 1], turns=1).play(policy)
    assert set(policy.lessons) == {0}
    assert policy.lessons[0][-1] == f"Lesson {KEPT + 2} learned here"
    assert not policy.visits


def test_lessons_are_saved(tmp_path):
    llm, asked = reflecting()
    policy = make("reflexion", llm)
    World([0, 3], turns=1).play(policy)
    policy.save(tmp_path / "p.npz")
    loaded = load_policy(tmp_path / "p.npz", CATALOGUE, llm)
    assert loaded.lessons == policy.lessons
    World([3]).step(loaded)
    assert "Lesson 2" in asked[-1].context


def test_lessons_stay_the_same_during_a_session():
    llm, asked = reflecting()
    policy = make("reflexion", llm)
    world = World([0, 0], turns=2)
    world.step(policy)
    policy.lessons[0] = ("Another lesson",)
    world.step(policy)
    assert not any("Another lesson" in prompt.context for prompt in asked)
