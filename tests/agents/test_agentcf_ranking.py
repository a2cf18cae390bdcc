"""AgentCF ranks: no place is preferred, malformed lists are handled, and texts are read as they come."""

from __future__ import annotations

import pytest

from recsim_llm.agents.llm.agentcf.agentcf_memories import AgentCFMemories
from recsim_llm.agents.llm.agentcf.agentcf_ranking import RankRequest, nearest_version, rank_agentcf, shuffled
from recsim_llm.agents.llm.agentcf.agentcf_texts import memory_parser, parse_choice, parse_ranking
from recsim_llm.data import Catalogue
from recsim_llm.errors import ConfigError
from recsim_llm.language.label_reads import AnswerCounts
from recsim_llm.testing.scripted import FunctionLLM, MisbehavingLLM, ScriptedLLM, hash_choice_llm
from recsim_llm.types import Item, Prompt

TITLES = ("Blue Train", "Red Hot", "Green Day", "Kind of Blue")
ITEMS = tuple(Item(i, title, genres=("Jazz",)) for i, title in enumerate(TITLES))
CATALOGUE = Catalogue(ITEMS, ("a", "b", "c", "d")).vouch()


class WordsEncoder:
    """A text is the counts of four words."""

    def encode(self, texts):
        import numpy as np

        return np.array([[text.lower().count(w) for w in ("blue", "red", "green", "kind")] for text in texts], "f4")


def memories():
    return AgentCFMemories(CATALOGUE, "CD", {0: ["I like red.", "I like blue.", "I like nothing."]})


def test_the_place_of_a_candidate_does_not_matter():
    one = rank_agentcf(hash_choice_llm(3), memories(), [RankRequest(0, (0, 1, 2, 3))])
    two = rank_agentcf(hash_choice_llm(3), memories(), [RankRequest(0, (3, 1, 0, 2))])
    assert one == two
    assert sorted(one[0]) == [0, 1, 2, 3]


def test_the_likeliest_yes_comes_first():
    llm = FunctionLLM(lambda p: [0.9, 0.1] if "Green Day" in p.question else [0.2, 0.8])
    assert rank_agentcf(llm, memories(), [RankRequest(0, (3, 0, 2, 1))]) == [[2, 3, 0, 1]]


def test_the_variants_tell_what_they_should():
    seen = {}
    for variant in ("basic", "retrieval", "history"):
        llm = ScriptedLLM(["Yes", "No"])
        rank_agentcf(llm, memories(), [RankRequest(0, (0, 3), (1,))], variant, encoder=WordsEncoder())
        seen[variant] = llm.prompts[0].context
    assert "I like nothing." in seen["basic"]
    assert seen["retrieval"].startswith(seen["basic"])
    assert "Earlier I said of myself: I like blue." in seen["retrieval"]
    assert "What I have had before: Red Hot." in seen["history"]
    assert "Red Hot" not in seen["basic"] + seen["retrieval"]
    with pytest.raises(ConfigError, match="encoder"):
        rank_agentcf(ScriptedLLM([]), memories(), [RankRequest(0, (0, 3))], "retrieval")
    with pytest.raises(ConfigError, match="variant"):
        rank_agentcf(ScriptedLLM([]), memories(), [], "best")


def test_a_user_without_versions_has_no_past():
    assert nearest_version([], ["blue"], WordsEncoder()) == ""
    assert nearest_version(["no colour", "red", "red sky"], ["red"], WordsEncoder()) == "red sky"


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("3, 1, 2, 4", [2, 0, 1, 3]),
        ("Ranking:\n1. number 3", [0, 2, 1, 3]),
        ("4 4 4 2 9 0", [3, 1, 0, 2]),
        ("2", None),
        ("I'm sorry, but I can't help with that.", None),
        ("", None),
    ],
)
def test_lists_are_read_by_number(text, order):
    assert parse_ranking(text, 4) == order


def test_a_list_that_cannot_be_read_is_asked_again_then_the_order_stays_and_is_counted():
    counts = AnswerCounts()
    request = RankRequest(0, (3, 1, 0, 2))
    llm = ScriptedLLM(["nothing", "still nothing", "2, 1, 4, 3"])
    assert rank_agentcf(llm, memories(), [request], answers="text", counts=counts) == [[1, 3, 2, 0]]
    assert (counts.reasked, counts.fallbacks) == (2, 0)
    bad = MisbehavingLLM(hash_choice_llm(), refusing=1.0)
    assert rank_agentcf(bad, memories(), [request], answers="text", counts=counts) == [[3, 1, 0, 2]]
    assert counts.fallbacks == 1


def test_shuffling_forgets_the_order_in_which_candidates_came():
    assert shuffled([5, 2, 9, 7], 0, 3) == shuffled([9, 7, 5, 2], 0, 3)
    firsts = [shuffled(list(range(10)), 0, user)[0] for user in range(1000)]
    assert all(50 < firsts.count(item) < 150 for item in range(10))


@pytest.mark.parametrize(
    ("text", "slot"),
    [
        ("Choice: A\nExplanation: it is blue", 0),
        ("choice: B.", 1),
        ("Choice: 'Kind of Blue'", 1),
        ("Chosen CD: Blue Train", 0),
        ("**Choice**: B) Kind of Blue", 1),
        ("A", 0),
        ("B: Kind of Blue fits better.", 1),
        ("I would take Kind of Blue.", 1),
        ("KIND OF BLUE, not Blue Train.", None),
        ("A difficult question.", None),
        ("Choice: neither", None),
        ("", None),
    ],
)
def test_choices_are_resolved_within_the_two_that_are_listed(text, slot):
    pick = parse_choice(text, ("Blue Train", "Kind of Blue"))
    assert (pick.slot if pick else None) == slot


def test_a_title_within_the_other_title_and_entities_do_not_confuse():
    assert parse_choice("Choice: Blue", ("Blue", "Blue Train")).slot == 0
    assert parse_choice("Choice: Blue Train", ("Blue", "Blue Train")).slot == 1
    assert (
        parse_choice("Choice: Simon &amp; Garfunkel&#39;s D&eacute;j&agrave;", ("X", "Simon & Garfunkel's Déjà")).slot
        == 1
    )
    assert parse_choice("Choice: Faith", ("Faith", "Faith")) is None
    assert parse_choice("Choice: B", ("Faith", "Faith")).slot == 1


def test_an_explanation_is_kept_apart_from_the_choice():
    assert parse_choice("Choice: A\nExplanation: warm\nand round", TITLES[:2]).explanation == "warm and round"
    assert parse_choice("A", TITLES[:2]).explanation == ""


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("My updated self-description: I like jazz.", "I like jazz."),
        ("**Self-introduction:**\n'I like jazz.'", "I like jazz."),
        ("Here is the rewritten description of the CD:\nCool.", "Cool."),
        ("'Blue' is like 'Red'", "'Blue' is like 'Red'"),
        ("I like one thing: jazz.", "I like one thing: jazz."),
        ("I'm sorry, but I can't help with that.", None),
        ("My instructions say: be someone", None),
        ("  \n", None),
    ],
)
def test_memories_are_taken_out_of_what_surrounds_them(text, memory):
    assert memory_parser(Prompt("be someone", "", ""))(text) == memory
