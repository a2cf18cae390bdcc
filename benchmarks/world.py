"""Shared fixtures of the benchmarks: an invented data set of ML-100K's shape, and users for it, without downloads."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from math import log
from pathlib import Path
from time import perf_counter

import numpy as np

from recsim_llm.agents.llm.llm_users import LLMUsers
from recsim_llm.agents.population import make_population
from recsim_llm.agents.statistical.statistical_users import StatisticalParameters
from recsim_llm.data.formats.folder import save_folder
from recsim_llm.data.worlds.synthetic import make_world
from recsim_llm.language.protocol import Usage
from recsim_llm.types import Completion, Ints, Prompt, Reaction, Responses

USERS, ITEMS, RATINGS_PER_USER, FACTORS = 943, 1682, 106, 16


@cache
def folder() -> str:
    """A data set of 943 users, 1,682 items and about 100,000 ratings on disk, removed when the process ends."""
    top = Path(tempfile.mkdtemp(prefix="recsim-llm-bench-"))
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    world = make_world(num_users=USERS, num_items=ITEMS, ratings_per_user=RATINGS_PER_USER)
    save_folder(world.dataset, top / "world")
    return str(top / "world")


def people() -> StatisticalParameters:
    """Random statistical users of that shape, with 16 + 32 factors; their tastes do not matter here."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0.0, 0.3, shape)

    return StatisticalParameters(
        mean=3.5, user_bias=draw(USERS), item_bias=draw(ITEMS), user_factors=draw(USERS, FACTORS),
        item_factors=draw(ITEMS, FACTORS), thresholds=np.array([1.5, 2.5, 3.5, 4.5]), scale=0.5,
        watch_user=draw(USERS) - 1.0, watch_item=draw(ITEMS), watch_user_factors=abs(draw(USERS, 32)),
        watch_item_factors=abs(draw(ITEMS, 32)), watch_slope=0.1, watch_affinity=1.0,
        activity=rng.integers(1, 4, USERS), rating_levels=np.arange(1.0, 6.0),
    )  # fmt: skip


def random_pages(num_envs: int, page_size: int, count: int = 8) -> list[Ints]:
    """`count` batches of (B, K) pages; a page that holds an item twice leaves the rules something to do."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, ITEMS, (num_envs, page_size)) for _ in range(count)]


class PreparedLLM:
    """Answers every prompt at once with a prepared completion, and counts the seconds spent.

    Args:
        stay: Nobody ever leaves; otherwise everybody leaves with the probability of watching, 0.2.
    """

    name = "prepared"

    def __init__(self, stay: bool = False) -> None:
        self.usage = Usage()
        self.stay = stay
        yes, no = -1.61, -0.223
        self._yes_no = Completion("No", (yes, no))
        self._stay = Completion("No", (-30.0, 0.0))
        self._stars = Completion("4", (-2.303, -1.61, -1.61, -1.204, -1.61))
        self._others: dict[tuple[int, int], Completion] = {}
        self.leave_question = ""

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt."""
        start = perf_counter()
        stars, yes_no = self._stars, self._yes_no
        answers = [
            yes_no if len(p.choices) == 2 else stars if len(p.choices) == 5 and p.slots == 1 else self._other(p)
            for p in prompts
        ]
        if self.stay:
            quit_ = self.leave_question
            answers = [self._stay if p.question == quit_ else a for p, a in zip(prompts, answers, strict=True)]
        self.usage.calls += len(answers)
        self.usage.seconds += perf_counter() - start
        return answers

    def _other(self, prompt: Prompt) -> Completion:
        """A text, or any number of choices and slots, in each the first choice likeliest."""
        size, key = len(prompt.choices), (len(prompt.choices), prompt.slots)
        if key not in self._others:
            slot = (log(0.8), *[log(0.2 / max(size - 1, 1))] * (size - 1)) if size else ()
            self._others[key] = Completion("Nothing to say.", slot * prompt.slots)
        return self._others[key]


def llm_users(stay: bool = False) -> tuple[LLMUsers, PreparedLLM]:
    """Page agents of the invented data set's people, with prepared answers."""
    llm = PreparedLLM(stay)
    users = make_population(folder(), "llm", llm).users
    assert isinstance(users, LLMUsers)
    llm.leave_question = users.texts.leave
    return users, llm


def page_prompts(num_users: int, page_size: int) -> list[Prompt]:
    """Real prompts of page agents on their second page: 2 K for each user, those of one user together."""
    users, llm = llm_users()
    asked: list[Prompt] = []
    answer = llm.generate

    def listen(prompts: Sequence[Prompt]) -> list[Completion]:
        asked.extend(prompts)
        return answer(prompts)

    sessions, pages = np.arange(num_users), random_pages(num_users, page_size, 2)
    users.reset(sessions, sessions % USERS, np.zeros(num_users, dtype=np.uint64))
    first = users.react(sessions, pages[0])
    users.observe(sessions, pages[0], _half_watched(first))
    llm.generate = listen  # type: ignore[method-assign]
    users.react(sessions, pages[1])
    return asked


def _half_watched(reaction: Reaction) -> Responses:
    watched = np.zeros(reaction.watch_BK.shape, dtype=np.bool_)
    watched[:, ::2] = True
    return Responses(watched, np.where(watched, 4.0, 0.0))
