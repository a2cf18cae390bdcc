"""The kind whose prompts grow: what is sent is the text sent before, and more."""

from __future__ import annotations

import numpy as np
import pytest

from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.agents.llm.memory.transcript import TranscriptMemory
from recsim_llm.agents.population import make_population
from recsim_llm.language.wrappers.prefix_cache import PrefixCache
from recsim_llm.testing.memory_contract import MemoryContract
from recsim_llm.testing.scripted import hash_choice_llm
from recsim_llm.types import EMPTY, Prompt, Responses

SESSION = np.array([3])


class TestTranscript(MemoryContract):
    max_bytes = 2000

    def make(self):
        return TranscriptMemory()


class TestSmallTranscript(MemoryContract):
    max_bytes = 80

    def make(self):
        return TranscriptMemory(max_bytes=200, max_event_bytes=80)


class Listening:
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self._llm, self.heard = hash_choice_llm(0), list[Prompt]()
        self.name, self.usage = self._llm.name, self._llm.usage

    def generate(self, prompts):
        self.heard += prompts
        return self._llm.generate(prompts)


def visit(pages, kind="dialogue"):
    """One person sees these pages and watches the first item of each; returns the model and the users."""
    llm = Listening()
    users = make_population("synthetic", kind, llm).users
    llm.heard.clear()  # making a population asks, for its fingerprint
    users.reset(SESSION, np.array([5]), np.array([9], dtype=np.uint64))
    for row in pages:
        page = np.array([row])
        users.react(SESSION, page)
        stars = np.zeros(page.shape)
        stars[0, 0] = 4.0
        users.observe(SESSION, page, Responses(stars > 0, stars))
    return llm, users


PAGES = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, EMPTY, 11], [12, 13, 14, 15]]


def test_each_prompt_begins_with_the_one_before():
    llm, _ = visit(PAGES)
    assert len(llm.heard) == len(PAGES)
    for before, after in zip(llm.heard, llm.heard[1:], strict=False):
        assert after.system == before.system
        assert after.context.startswith(f"{before.context}\n{before.question}\n")


def test_what_a_person_did_follows_its_page_in_the_order_of_the_list():
    llm, _ = visit(PAGES[:2])
    *_, numbers = llm.heard[1].context.splitlines()
    given = [int(number) for number in numbers.split()]
    assert sorted(given) == [0, 0, 0, 4]
    titles = [line for line in llm.heard[0].question.splitlines() if line[0].isdigit()]
    watched = make_population("synthetic", "statistical").dataset.catalogue[0].title
    assert watched in titles[given.index(4)]


def test_contexts_end_where_tokenizers_cut():
    llm, _ = visit(PAGES)
    assert all(prompt.context[-1].isalnum() for prompt in llm.heard)


def test_an_engine_reads_new_pages_only():
    shares = {}
    for kind in ("dialogue", "agent4rec:genres"):
        cache, read, sent = PrefixCache(), 0.0, 0
        for prompt in visit(PAGES * 2, kind)[0].heard:
            text = f"{prompt.system}\n{prompt.context}\n{prompt.question}"
            sent += len(text)
            read += len(text) * (1 - cache.read(text))
        shares[kind] = read / sent
    assert shares["dialogue"] < 0.5 * shares["agent4rec:genres"]


def test_what_is_heard_is_told():
    _, users = visit(PAGES[:1])
    users.kind.memory.add(SESSION, [Event("person 8 said: see it", 0.5, "heard")], np.array([1.0]))
    assert users.context(3, "anything").endswith("person 8 said: see it")


def test_a_full_transcript_forgets_its_older_half():
    memory = TranscriptMemory(max_bytes=1000, max_event_bytes=100)
    memory.forget(SESSION)
    lengths = []
    for number in range(60):
        memory.add(SESSION, [Event(f"{number:03d}" + "x" * 97)], np.zeros(1))
        lengths.append(len(memory.transcript(3)))
    assert max(lengths) == 10
    assert lengths.count(5) == pytest.approx(60 / 6, abs=2), "seldom, so that prompts keep their beginnings"
    assert memory.dropped == 60 - lengths[-1]
    assert memory.transcript(3)[-1].text.startswith("059")
