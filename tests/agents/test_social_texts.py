"""Chats and posts: noise is said in our words and counted; a tag stands only where the words carry it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsim_llm.agents.fitted_sources import Source
from recsim_llm.agents.llm.agent_kind import Agent
from recsim_llm.agents.llm.agent_users import AgentUsers
from recsim_llm.agents.named_users import make_users
from recsim_llm.agents.society.social_turns import SocialTexts, stars_said
from recsim_llm.data import load_dataset
from recsim_llm.data.dataset import Catalogue
from recsim_llm.testing.scripted import FunctionLLM
from recsim_llm.types import EMPTY, Item, Responses

KINDS = ("recagent", "agent4rec")
CATALOGUE = load_dataset("synthetic").catalogue
TITLES = [CATALOGUE[item].title for item in range(4)]
NOISE = "(3) (2) (5)"
PASTE = "Awesome! I'll just copy and paste the text"


def town(say, kind="recagent", count=4) -> AgentUsers:
    """People whose model writes what `say` makes of a prompt; person i has watched item i and gave it 4 stars."""

    def answer(prompt):
        return [1.0] * len(prompt.choices) * prompt.slots if prompt.choices else say(prompt)

    users = make_users(Source("synthetic"), kind, FunctionLLM(answer), "hash", "")
    assert isinstance(users, AgentUsers)
    people = np.arange(count)
    users.reset(people, people, people.astype(np.uint64))
    stars = np.full((count, 1), 4.0)
    users.observe(people, people[:, None], Responses(stars > 0, stars))
    users.texts.asked = 0
    return users


def posts(users, *who):
    return users.post(np.array(who), np.full(len(who), 9.0))


def chats(users, *pairs):
    ones, twos = np.array(pairs).T
    return users.chat(ones, twos, np.full(len(pairs), 9.0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_writes_digits_is_never_heard(kind):
    users = town(lambda prompt: NOISE, kind)
    said = posts(users, 0, 1)
    assert [m.text for m in said] == [f"I watched {CATALOGUE[i].label} and gave it 4 of 5 stars." for i in (0, 1)]
    assert [(m.item, m.stars) for m in said] == [(0, 4.0), (1, 4.0)]
    (dialogue,) = chats(users, (2, 3))
    assert [(m.author, m.item, m.stars) for m in dialogue] == [(2, 2, 4.0), (3, 3, 4.0)]
    # Three texts, each asked for twice.
    assert users.texts.asked == users.texts.templates == 3
    assert users.texts.refused == {"digits or signs only": 6}


def test_a_model_that_talks_sense_is_heard_word_for_word():
    def say(prompt):
        if "dialogue" in prompt.question:
            return (
                f"person 2: Have you seen {TITLES[2]}? It moved me.\nperson 3: I saw {TITLES[3]}, so fine, four stars."
            )
        return f"{TITLES[0]} kept me awake all night, 4 stars from me."

    users = town(say)
    (post,) = posts(users, 0)
    assert post == (0, f"{TITLES[0]} kept me awake all night, 4 stars from me.", 0, 4.0)
    assert chats(users, (2, 3)) == [
        [
            (2, f"Have you seen {TITLES[2]}? It moved me.", 2, 0.0),  # names it, but no stars
            (3, f"I saw {TITLES[3]}, so fine, four stars.", 3, 4.0),
        ]
    ]
    assert (users.texts.asked, users.texts.templates, users.texts.refused) == (2, 0, {})
    assert users.texts.distinct == 3


def test_a_model_that_says_the_same_of_everything_is_seen_by_its_one_message():
    """The gate lets it pass, as it names a genre of whatever was watched: no template, and one message in all."""
    users = town(lambda prompt: f"Give me anything: {', '.join(CATALOGUE.genres).lower()}.")
    said = posts(users, 0, 1, 2, 3)
    assert len({message.text for message in said}) == 1
    assert (users.texts.asked, users.texts.templates, users.texts.distinct) == (4, 0, 1)


def test_noise_is_asked_for_once_again():
    answers = iter([PASTE, f"{TITLES[0]} is worth an evening."])
    users = town(lambda prompt: next(answers))
    assert posts(users, 0)[0].text == f"{TITLES[0]} is worth an evening."
    assert users.texts.refused == {"names nothing that was shown": 1}
    assert users.texts.templates == 0
    with pytest.raises(StopIteration):
        next(answers)


def test_noise_between_good_lines_is_dropped_and_never_remembered():
    text = f"person 0: {TITLES[0]} is worth an evening.\nperson 1: (3) (2) (5)\nperson 0: You would enjoy it a lot."
    users = town(lambda prompt: text)
    (dialogue,) = chats(users, (0, 1))
    assert [m.text for m in dialogue] == [f"{TITLES[0]} is worth an evening.", "You would enjoy it a lot."]
    assert [m.item for m in dialogue] == [0, EMPTY], "the second line names nothing"
    assert users.texts.lines_dropped == 1


@pytest.mark.parametrize(
    ("words", "tag"),
    [
        (f"{TITLES[0]} is worth an evening.", (0, 0.0)),
        (f"I give {TITLES[0]} 2 of 5 stars, it dragged on.", (0, 2.0)),  # what the words say, not what was given
        (f"{TITLES[0]} was long, and ten friends of mine slept.", (0, 0.0)),
        ("Another evening with a " + CATALOGUE[0].genres[0].lower() + " film, 4 stars.", (EMPTY, 0.0)),
    ],
)
def test_the_tag_stands_only_where_the_words_carry_it(words, tag):
    (post,) = posts(town(lambda prompt: words), 0)
    assert post.text == words
    assert (post.item, post.stars) == tag


def test_a_number_at_the_end_of_a_title_gives_no_stars():
    items = (Item(0, "Toy Story 2", 1999, ("Comedy",)), Item(1, "Seven", 1995, ("Crime",)))
    texts = SocialTexts(Catalogue(items, ("a", "b")), [], 5.0)
    me = Agent(0, 0, 0, topic=0, stars=5.0)
    assert texts.said(me, "Toy Story 2 stars Tom Hanks again, a joy.")[2:] == (0, 0.0)
    assert texts.said(me, "I gave Toy Story 2 four stars, a joy.")[2:] == (0, 4.0)
    assert texts.said(replace(me, topic=1), "Seven stars Brad Pitt, so dark.")[2:] == (1, 0.0)


def test_a_partners_item_may_be_named_but_has_no_stars_of_the_speakers():
    words = f"I want to see your {TITLES[1]} with its 4 stars."
    ((message,),) = chats(town(lambda prompt: f"person 0: {words}"), (0, 1))
    assert (message.author, message.item, message.stars) == (0, 1, 0.0)


def test_friends_remember_the_words_and_nothing_else():
    users = town(lambda prompt: f"{TITLES[0]} is worth an evening.")
    (post,) = posts(users, 0)
    users.hear(np.array([1]), [post], np.array([9.0]))
    memory = users.context(1, TITLES[0]).partition("person 0 said: ")[2].partition("\n")[0]
    assert memory.strip('"') == f"{TITLES[0]} is worth an evening."


def test_who_has_watched_nothing_says_so():
    users = make_users(Source("synthetic"), "recagent", FunctionLLM(lambda prompt: NOISE), "hash", "")
    people = np.arange(2)
    users.reset(people, people, people.astype(np.uint64))
    assert posts(users, 0) == [(0, "I have not watched anything lately.", EMPTY, 0.0)]


@pytest.mark.parametrize(
    ("words", "stars"),
    [
        ("4 stars", 4.0),
        ("Four stars!", 4.0),
        ("a five-star night", 5.0),
        ("4/5", 4.0),
        ("3.5 out of 5", 3.5),
        ("two of five", 2.0),
        ("8/10", 0.0),
        ("7 stars", 0.0),
        ("0 stars", 0.0),
        ("4 stars, no, 2 stars", 0.0),
        ("4 of 5, or 8 of 10", 0.0),
        ("one of the stars", 0.0),
        ("Ocean's 11 with 3 friends", 0.0),
        ("24/5", 0.0),
        ("four", 0.0),
    ],
)
def test_stars_are_read_from_words(words, stars):
    assert stars_said(words, 5.0) == stars
