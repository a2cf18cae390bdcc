"""A world small enough to know by heart: eight films, four people, each of whom wants one film. And puppets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsim_llm.agents.llm.agentcf.agentcf_memories import AgentCFMemories
from recsim_llm.agents.society.inhabitants import Action, Message
from recsim_llm.agents.user_model import Description
from recsim_llm.data import load_dataset
from recsim_llm.testing.scripted import Wish, wishing_llm
from recsim_llm.types import EMPTY, Reaction

TITLES = (
    "Blue Moon (1999)", "Red Sun (2001)", "Blue Moon Rising (2003)", "Green Hill (1987)",
    "The Mill (1990)", "Late Train (2010)", "Old Bridge (1975)", "Salt (2015)",
)  # fmt: skip
LEVELS = np.arange(1.0, 6.0)

# Four ratings of each person, all of them training ones; their means are 2, 3, 3.5 and 4, and tell the people apart.
_STARS = {0: (1, 2, 2, 3), 1: (2, 3, 3, 4), 2: (3, 3, 4, 4), 3: (3, 4, 4, 5)}
MEANS = {user: f"{sum(stars) / 4:.1f} of 5 stars" for user, stars in _STARS.items()}
WANTED = np.array([0, 2, 5, 7])
"""(4,) the item that each person wants."""
GIVEN = np.array([5.0, 3.0, 5.0, 1.0])
"""(4,) the stars that each gives it."""


def write_world(folder: Path) -> Path:
    """The world as a data set of the plain format, and AgentCF's memories of its people in `memories`."""
    rows = [f"{user},{(user + 2 * i) % 8},{stars}" for user, all_ in _STARS.items() for i, stars in enumerate(all_)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ratings.csv").write_text("\n".join(["user,item,rating", *rows]) + "\n")
    films = [f"{i},{label[:-7]},{label[-5:-1]},Drama" for i, label in enumerate(TITLES)]
    (folder / "items.csv").write_text("\n".join(["item,title,year,genres", *films]) + "\n")
    (folder / "dataset.json").write_text('{"name": "small", "rating_levels": [1, 2, 3, 4, 5]}')
    catalogue = load_dataset(str(folder)).catalogue
    assert tuple(item.label for item in catalogue) == TITLES
    told = {user: [f"I give {mean} on average."] for user, mean in MEANS.items()}
    AgentCFMemories(catalogue, users=told).save(folder / "memories" / "agentcf.json")
    return folder


def everybodys_wish():
    """The model of these four people."""
    wishes = zip(MEANS.values(), WANTED.tolist(), GIVEN.tolist(), strict=True)
    return wishing_llm({mean: Wish(TITLES[item], int(level)) for mean, item, level in wishes})


class Puppets:
    """People who do exactly as told, in pages, visits and societies alike: probabilities by user and item.

    Args:
        watch: (U, N) probability of watching.
        stars: (U, N) stars given; certain.
        leave: Probability of leaving after each page of a visit; the last one holds on.
        reckless: Whether they claim to watch empty slots too, with certainty, at five stars.
        plans: (U, 5) probability of each `Action`.
    """

    rating_levels = LEVELS

    def __init__(self, watch, stars, leave=(0.0,), reckless=False, plans=None):
        self.watch, self.stars, self.leave = np.asarray(watch, float), np.asarray(stars, float), leave
        self.reckless, self.plans = reckless, plans
        self.num_users, self.num_items = self.watch.shape
        self.heard, self.visits, self._user, self._page = [], [], {}, {}

    def reset(self, sessions, users, keys):
        self._user |= dict(zip(sessions.tolist(), users.tolist(), strict=True))
        self._page |= dict.fromkeys(sessions.tolist(), 0)

    def visit(self, agents, hours):
        self._page |= dict.fromkeys(agents.tolist(), 0)
        self.visits += zip(agents.tolist(), hours.tolist(), strict=True)

    def react(self, sessions, pages):
        users = np.array([self._user[s] for s in sessions.tolist()], dtype=np.int64)[:, None]
        empty = 1.0 if self.reckless else 0.0
        watch = np.where(pages == EMPTY, empty, self.watch[users, pages])
        stars = np.where(pages == EMPTY, 5.0, self.stars[users, pages])
        return Reaction(watch, (stars[..., None] == LEVELS).astype(float))

    def observe(self, sessions, pages, responses):
        numbers = [self._page[s] for s in sessions.tolist()]
        self._page |= {s: n + 1 for s, n in zip(sessions.tolist(), numbers, strict=True)}
        return np.array([self.leave[min(n, len(self.leave) - 1)] for n in numbers])

    def intend(self, agents, hours):
        return np.asarray(self.plans, float)[agents]

    def search_query(self, agents, hours):
        return ["salt"] * len(agents)

    def chat(self, agents, partners, hours):
        return [[Message(me, f"{me} to {other}")] for me, other in zip(agents.tolist(), partners.tolist(), strict=True)]

    def post(self, agents, hours):
        return [Message(me, f"{me} to all") for me in agents.tolist()]

    def hear(self, agents, messages, hours):
        rows = zip(agents.tolist(), messages, hours.tolist(), strict=True)
        self.heard += [(me, message.text, hour) for me, message, hour in rows]

    def advertise(self, item, slogan): ...

    def change(self, persona): ...

    def describe(self):
        return Description()


def always(*actions: Action) -> np.ndarray:
    """(U, 5) plans of people who always do the same, one action a person."""
    return np.eye(len(Action))[list(actions)]


class AngleEncoder:
    """Texts "axis cosine words..." as unit vectors with this cosine to the query "axis"; axes are at right angles.

    "1 0.5 anything" has the cosine 0.5 to "1", and 0 to "2".
    """

    name, dim = "angle", 16

    def encode(self, texts):
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            axis, cosine = (text.split() + ["1"])[:2]
            row[int(axis)], row[15] = float(cosine), np.sqrt(1 - float(cosine) ** 2)
        return rows
