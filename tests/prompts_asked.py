"""Every prompt that a population or a policy asks about a few people and pages: what tests of prompt texts look at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from recsim_llm.agents.fitted_sources import Source
from recsim_llm.agents.named_users import think_aloud
from recsim_llm.agents.population import make_population
from recsim_llm.agents.user_model import UserModel
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.language.protocol import Usage
from recsim_llm.language.uniform import UniformLLM
from recsim_llm.policies import make_policy
from recsim_llm.policies.feedback import Feedback
from recsim_llm.prompt_key import prompt_keys
from recsim_llm.types import EMPTY, Completion, Prompt, Responses

KINDS = ("llm", "llm:tuned", "llm:tuned-public", "agent4rec", "agent4rec:text", "agent4rec:items", "agent4rec:genres",
         "recagent", "agentcf", "agentcf:items", "dialogue", "dialogue:items")  # fmt: skip
PLANNERS: dict[str, dict[str, Any]] = {
    "actonly": {}, "react": {}, "reflexion": {}, "billp": {}, "actonly choosing": {"candidates": 4},
    "llmrank": {"way": "listwise"}, "llmrank pointwise": {"way": "pointwise", "form": "in-context"},
    "llmrank pairwise": {"way": "pairwise", "form": "recency", "candidates": 3},
}  # fmt: skip


class Listener:
    """Answers uniformly and keeps what it was asked."""

    name = "listener"

    def __init__(self) -> None:
        self._llm, self.usage = UniformLLM(), Usage()
        self.prompts: list[Prompt] = []

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        self.prompts += prompts
        return self._llm.generate(prompts)


def asked_by_users(users: UserModel, pages: int = 2, people: int = 3, size: int = 5) -> None:
    """Two pages of a few people: the first is watched in part, so that the second is read with a memory."""
    who = np.arange(people)
    users.reset(who, who, who.astype(np.uint64))
    for page in range(pages):
        shown = (np.arange(people * size).reshape(people, size) * 7 + page * 31) % users.num_items
        users.react(who, shown)
        watched = shown % 2 == 0
        users.observe(who, shown, Responses(watched, np.where(watched, users.rating_levels[-1], 0.0)))


def prompts_of_kind(dataset: str | Source, kind: str) -> list[Prompt]:
    listener = Listener()
    asked_by_users(make_population(dataset, kind, listener).users)
    return listener.prompts


def prompts_of_thoughts(dataset: str | Source, kind: str) -> list[Prompt]:
    """What people of a kind are asked about two pages each when they are to say what they think."""
    listener = Listener()
    population = make_population(dataset, kind, listener)
    think_aloud(population.users, population.dataset.catalogue)
    asked_by_users(population.users)
    return [prompt for prompt in listener.prompts if "just looked at a page" in prompt.system]


def prompts_of_planner(log: Ratings, catalogue: Catalogue, name: str, people: int = 2) -> list[Prompt]:
    """Two turns of a few people, with feedback in between."""
    listener = Listener()
    policy: Any = make_policy(name.split()[0], log, catalogue, 2, 0, listener, **PLANNERS[name])
    who, rows = np.arange(people), log.by_user()
    items = np.full((people, 16), EMPTY)
    stars = np.zeros((people, 16), dtype=np.float32)
    for user in who.tolist():
        last = rows[user][-8:]
        items[user, 16 - len(last) :], stars[user, 16 - len(last) :] = log.items[last], log.values[last]
    for turn in range(2):
        mask = (items != EMPTY).astype(np.int8)
        page = np.full((people, 1), turn)
        seen: Any = {"user": who[:, None], "page": page, "history_items": items, "history_ratings": stars}
        shown = policy.act({**seen, "history_mask": mask})
        given = np.where(shown % 2 == 0, 4.0, 0.0)
        ended = np.full(people, turn == 1)
        policy.learn(Feedback(who, shown, given > 0, given, given.sum(axis=1), ended))
        items = np.concatenate([items, shown], axis=1)[:, -16:]
        stars = np.concatenate([stars, given.astype(np.float32)], axis=1)[:, -16:]
    return listener.prompts


def digest(prompts: Sequence[Prompt]) -> str:
    return hashlib.sha256(b"".join(prompt_keys("", prompts))).hexdigest()[:16]
