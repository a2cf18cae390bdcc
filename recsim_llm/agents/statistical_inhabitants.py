"""Statistical users who live in a society: scripted words, declared habits, word of mouth. Knows no language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsim_llm.agents.inhabitants import Action, Message
from recsim_llm.agents.prompts_text import phrases
from recsim_llm.agents.statistical import StatisticalParameters, StatisticalUsers
from recsim_llm.data.dataset import Catalogue
from recsim_llm.errors import ConfigError
from recsim_llm.types import EMPTY, Floats, Ints, Keys, Persona, Reaction, Responses, State

_HEARD = 32  # messages about items that a person keeps in mind; the oldest go first
_KIND = "scripted"


@dataclass(frozen=True, slots=True)
class SocialHabits:
    """What statistical people do when they wake, and how much they listen. Declared, not fitted.

    Attributes:
        browse, search, chat, post: Probabilities; what is left is doing nothing.
        word_of_mouth: Log-odds of watching that one message about an item adds (rated above the middle of the scale)
            or takes off (rated below it). 0.5 is e^0.5 = 1.6 times the odds.
        most_words: Messages about one item that count.
    """

    browse: float = 0.5
    search: float = 0.1
    chat: float = 0.2
    post: float = 0.1
    word_of_mouth: float = 0.5
    most_words: int = 3

    def __post_init__(self) -> None:
        shares = (self.browse, self.search, self.chat, self.post)
        if min(shares) < 0 or sum(shares) > 1:
            raise ConfigError(f"Habits are probabilities that add up to at most 1, not {shares}.")


class StatisticalInhabitants:
    """See `agents.inhabitants.Inhabitants`. People say plain facts: what they watched and how they rated it.

    Args:
        parameters: Of the statistical users.
        catalogue: Titles.
        personas: `personas[u].user == u`; a person searches the genres they like, one after the other.
        habits: Declared.
    """

    def __init__(
        self,
        parameters: StatisticalParameters,
        catalogue: Catalogue,
        personas: Sequence[Persona],
        habits: SocialHabits | None = None,
    ) -> None:
        self._people = StatisticalUsers(parameters)
        self._catalogue, self._personas, self.habits = catalogue, list(personas), habits or SocialHabits()
        self.num_users, self.num_items = self._people.num_users, self._people.num_items
        self.rating_levels = parameters.rating_levels
        size = self.num_users
        self._topic, self._stars = np.full(size, EMPTY, dtype=np.int64), np.zeros(size)
        self._searches = np.zeros(size, dtype=np.int64)
        self._heard = np.full((size, _HEARD), EMPTY, dtype=np.int32)
        self._mood = np.zeros((size, _HEARD), dtype=np.float32)
        self._heard_count = np.zeros(size, dtype=np.int64)

    def reset(self, sessions: Ints, users: Ints, keys: Keys) -> None:
        """See `UserModel.reset`. In a society a handle is a user id."""
        self._make_room(int(sessions.max(initial=-1)) + 1)
        self._people.reset(sessions, users, keys)
        self._topic[sessions], self._stars[sessions], self._searches[sessions] = EMPTY, 0.0, 0
        self._heard[sessions], self._mood[sessions], self._heard_count[sessions] = EMPTY, 0.0, 0

    def visit(self, agents: Ints, hours: Floats) -> None:
        """See `Inhabitants.visit`."""
        self._people.visit(agents)

    def react(self, sessions: Ints, pages: Ints) -> Reaction:
        """See `UserModel.react`: statistical tastes, moved by what was heard."""
        reaction = self._people.react(sessions, pages)
        shift = self._word_of_mouth(sessions, pages)
        if not shift.any():
            return reaction
        watch = reaction.watch_BK
        odds = watch / np.maximum(1.0 - watch, 1e-12) * np.exp(shift)
        return Reaction(np.where(shift != 0, odds / (1.0 + odds), watch), reaction.rating_BKR)

    def observe(self, sessions: Ints, pages: Ints, responses: Responses) -> Floats:
        """See `UserModel.observe`."""
        stars = responses.ratings_BK
        best = stars.argmax(axis=1)[:, None] if stars.size else np.zeros((len(sessions), 1), dtype=np.int64)
        given = np.take_along_axis(stars, best, axis=1)[:, 0]
        liked = np.take_along_axis(pages, best, axis=1)[:, 0]
        told = given > 0
        self._topic[sessions[told]], self._stars[sessions[told]] = liked[told], given[told]
        return self._people.observe(sessions, pages, responses)

    def intend(self, agents: Ints, hours: Floats) -> Floats:
        """See `Inhabitants.intend`: the declared habits, the same for everybody."""
        row = np.zeros(len(Action))
        row[[Action.BROWSE, Action.SEARCH, Action.CHAT, Action.POST]] = (
            self.habits.browse,
            self.habits.search,
            self.habits.chat,
            self.habits.post,
        )
        row[Action.NOTHING] = max(1.0 - row.sum(), 0.0)
        return np.tile(row, (len(agents), 1))

    def search_query(self, agents: Ints, hours: Floats) -> list[str]:
        """See `Inhabitants.search_query`."""
        numbers = self._searches[agents].tolist()
        self._searches[agents] += 1
        wishes = [self._personas[agent].likes or self._catalogue.genres for agent in agents.tolist()]
        return [wish[n % len(wish)] if wish else "" for wish, n in zip(wishes, numbers, strict=True)]

    def chat(self, agents: Ints, partners: Ints, hours: Floats) -> list[list[Message]]:
        """See `Inhabitants.chat`: each says what they watched."""
        return [
            [self._said(me), self._said(other)] for me, other in zip(agents.tolist(), partners.tolist(), strict=True)
        ]

    def post(self, agents: Ints, hours: Floats) -> list[Message]:
        """See `Inhabitants.post`."""
        return [self._said(agent) for agent in agents.tolist()]

    def advertise(self, item: int, slogan: str) -> None:
        """See `Inhabitants.advertise`: statistical people do not read."""

    def change(self, persona: Persona) -> None:
        """See `Inhabitants.change`: patience and searches change; the tastes fitted to their ratings do not."""
        self._personas[persona.user] = persona
        activity = self._people.parameters.activity.copy()
        activity[persona.user] = persona.activity
        self._people.parameters = replace(self._people.parameters, activity=activity)

    def hear(self, agents: Ints, messages: Sequence[Message], hours: Floats) -> None:
        """See `Inhabitants.hear`: only what is said about a rated item, by somebody else, moves anybody."""
        middle = float(self.rating_levels[0] + self.rating_levels[-1]) / 2
        for agent, message in zip(agents.tolist(), messages, strict=True):
            if message.item == EMPTY or message.author == agent or message.stars <= 0:
                continue
            slot = self._heard_count[agent] % _HEARD
            self._heard[agent, slot] = message.item
            self._mood[agent, slot] = np.sign(message.stars - middle)
            self._heard_count[agent] += 1

    def state(self) -> State:
        """See `UserModel.state`."""
        return {"people": self._people.state()} | {name: getattr(self, f"_{name}").copy() for name in _ARRAYS}

    def load(self, state: State) -> None:
        """See `UserModel.load`."""
        self._people.load(state["people"])
        for name in _ARRAYS:
            setattr(self, f"_{name}", state[name].copy())

    def _said(self, agent: int) -> Message:
        item, stars = int(self._topic[agent]), float(self._stars[agent])
        if item == EMPTY:
            return Message(agent, phrases(_KIND)["nothing"].template)
        text = phrases(_KIND)["said"].substitute(
            item=self._catalogue.shown.label[item], stars=f"{stars:g}", top=f"{self.rating_levels[-1]:g}"
        )
        return Message(agent, text, item, stars)

    def _word_of_mouth(self, sessions: Ints, pages: Ints) -> Floats:
        """(B, K) log-odds by which messages move watching."""
        width = int(min(self._heard_count[sessions].max(initial=0), _HEARD))
        moods = np.zeros(pages.shape)
        for heard, mood in zip(self._heard[sessions, :width].T, self._mood[sessions, :width].T, strict=True):
            moods += (pages == heard[:, None]) * mood[:, None]
        most = self.habits.most_words
        shift: Floats = self.habits.word_of_mouth * np.clip(moods, -most, most) * (pages != EMPTY)
        return shift

    def _make_room(self, rows: int) -> None:
        extra = rows - len(self._topic)
        if extra > 0:
            self._topic = np.pad(self._topic, (0, extra), constant_values=EMPTY)
            self._stars, self._searches = np.pad(self._stars, (0, extra)), np.pad(self._searches, (0, extra))
            self._heard = np.pad(self._heard, ((0, extra), (0, 0)), constant_values=EMPTY)
            self._mood = np.pad(self._mood, ((0, extra), (0, 0)))
            self._heard_count = np.pad(self._heard_count, (0, extra))


_ARRAYS = ("topic", "stars", "searches", "heard", "mood", "heard_count")
