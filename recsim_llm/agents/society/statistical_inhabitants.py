"""Statistical users who live in a society: scripted words, declared habits, word of mouth; no language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from recsim_llm.agents.llm.memory.item_log import ItemLog
from recsim_llm.agents.llm.prompts_text import phrases
from recsim_llm.agents.society.inhabitants import Action, Message
from recsim_llm.agents.statistical.statistical_users import StatisticalParameters, StatisticalUsers, rating_distribution
from recsim_llm.agents.user_model import Description
from recsim_llm.checked import Count, Share, check_fields
from recsim_llm.data.dataset import Catalogue
from recsim_llm.errors import ConfigError
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import EMPTY, Floats, Ints, Keys, Persona, Reaction, Responses

WordOfMouth: TypeAlias = Annotated[float, Ge(0.0), Le(10.0)]
"""Log-odds per message."""
Exposure: TypeAlias = Annotated[float, Ge(-5.0), Le(5.0)]
"""Log-odds per page."""
_HEARD = 32  # messages about items that a person keeps in mind; the oldest go first
_KIND = "scripted"


@dataclass(frozen=True, slots=True)
class SocialHabits:
    """What statistical people do when they wake, and how others influence them. Declared, not fitted (docs/society.md).

    Where `word_of_mouth`, `seek`, `conformity` and `exposure` are 0, earlier messages and pages influence nobody.

    Attributes:
        browse, search, chat, post: Probabilities; what is left is doing nothing.
        word_of_mouth: Log-odds of watching that one message about an item adds (rated above the middle of the scale)
            or takes off (rated below it), 0 to 10. 0.5 is e^0.5 = 1.6 times the odds.
        most_words: Messages about one item that count.
        seek: Probability that a search is for the title that others have praised most, of those not yet watched,
            instead of for a genre; where nothing was praised, a genre is searched.
        conformity: Stars by which a person's taste for an item goes towards the mean of what others have told them they
            gave it, for each star between the two; 0 to 1. It moves ratings, not watching.
        exposure: Log-odds of watching that each earlier page with the item adds, -5 to 5; below 0 people tire of it.
        most_exposures: Earlier pages with one item that count.
    """

    browse: Share = 0.5
    search: Share = 0.1
    chat: Share = 0.2
    post: Share = 0.1
    word_of_mouth: WordOfMouth = 0.5
    most_words: Count = 3
    seek: Share = 0.5
    conformity: Share = 0.0
    exposure: Exposure = 0.0
    most_exposures: Count = 3

    def __post_init__(self) -> None:
        check_fields(self, str)
        shares = (self.browse, self.search, self.chat, self.post)
        if sum(shares) > 1 + 1e-9:
            raise ConfigError(f"Habits are probabilities that add up to at most 1, not {shares}.")


class StatisticalInhabitants:
    """See `agents.society.inhabitants.Inhabitants`. People say plain facts: what they watched and how they rated it.

    Args:
        parameters: Parameters of the statistical users.
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
        self._middle = float(self.rating_levels[0] + self.rating_levels[-1]) / 2
        size = self.num_users
        self._topic, self._stars = np.full(size, EMPTY, dtype=np.int64), np.zeros(size)
        self._searches = np.zeros(size, dtype=np.int64)
        self._heard = np.full((size, _HEARD), EMPTY, dtype=np.int32)
        self._given = np.zeros((size, _HEARD), dtype=np.float32)
        self._heard_count = np.zeros(size, dtype=np.int64)
        self._keys = np.zeros(size, dtype=np.uint64)
        self._exposed = ItemLog()  # filled only where exposure has an effect

    def reset(self, sessions: Ints, users: Ints, keys: Keys) -> None:
        """See `UserModel.reset`. In a society a handle is a user id."""
        self._make_room(int(sessions.max(initial=-1)) + 1)
        self._people.reset(sessions, users, keys)
        self._topic[sessions], self._stars[sessions], self._searches[sessions] = EMPTY, 0.0, 0
        self._heard[sessions], self._given[sessions], self._heard_count[sessions] = EMPTY, 0.0, 0
        self._keys[sessions] = keys
        self._exposed.forget(sessions)

    def visit(self, agents: Ints, hours: Floats) -> None:
        """See `Inhabitants.visit`."""
        self._people.visit(agents, hours)

    def react(self, sessions: Ints, pages: Ints) -> Reaction:
        """See `UserModel.react`: statistical tastes, moved by what was heard and by what was shown before."""
        reaction = self._people.react(sessions, pages)
        watch, rating = reaction.watch_BK, reaction.rating_BKR
        shift = self.habits.word_of_mouth * self._moods(sessions, pages)
        if self.habits.exposure:
            shift = shift + self._exposure(sessions, pages)
        if shift.any():
            # A factor on the odds; entries without a shift keep their exact value.
            odds = watch / np.maximum(1.0 - watch, 1e-12) * np.exp(shift)
            watch = np.where(shift != 0, odds / (1.0 + odds), watch)
        if self.habits.conformity and ((means := self._means(sessions, pages)) > 0).any():
            # Only items that others rated in messages get a new distribution, (B, K, R).
            taste = self._people.taste(sessions, pages)
            moved = taste + self.habits.conformity * np.where(means > 0, means - taste, 0.0)
            rating = np.where((means > 0)[..., None], rating_distribution(self._people.parameters, moved), rating)
        return Reaction(watch, rating)

    def observe(self, sessions: Ints, pages: Ints, responses: Responses) -> Floats:
        """See `UserModel.observe`."""
        stars = responses.ratings_BK
        best = stars.argmax(axis=1)[:, None] if stars.size else np.zeros((len(sessions), 1), dtype=np.int64)
        given = np.take_along_axis(stars, best, axis=1)[:, 0]
        liked = np.take_along_axis(pages, best, axis=1)[:, 0]
        told = given > 0
        self._topic[sessions[told]], self._stars[sessions[told]] = liked[told], given[told]
        if self.habits.exposure:
            self._exposed.add(sessions, pages, pages != EMPTY)
        return self._people.observe(sessions, pages, responses)

    def describe(self) -> Description:
        """See `UserModel.describe`."""
        return Description(asks_llm=False)

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
        """See `Inhabitants.search_query`: what others praised, or the genres that a person likes, one after another."""
        numbers = self._searches[agents]
        self._searches[agents] += 1
        draws = uniforms(self._keys[agents], Stream.SEEK, numbers)
        praised = np.where(draws < self.habits.seek, self._most_praised(agents), EMPTY)
        rows = zip(agents.tolist(), numbers.tolist(), praised.tolist(), strict=True)
        return [self._genre(agent, n) if item == EMPTY else self._catalogue[item].title for agent, n, item in rows]

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
        """See `Inhabitants.hear`: only messages by others about a rated item have an effect."""
        for agent, message in zip(agents.tolist(), messages, strict=True):
            if message.item == EMPTY or message.author == agent or message.stars <= 0:
                continue
            slot = self._heard_count[agent] % _HEARD
            self._heard[agent, slot] = message.item
            self._given[agent, slot] = message.stars
            self._heard_count[agent] += 1

    def _said(self, agent: int) -> Message:
        item, stars = int(self._topic[agent]), float(self._stars[agent])
        if item == EMPTY:
            return Message(agent, phrases(_KIND)["nothing"].template)
        text = phrases(_KIND)["said"].substitute(
            item=self._catalogue.shown.label[item], stars=f"{stars:g}", top=f"{self.rating_levels[-1]:g}"
        )
        return Message(agent, text, item, stars)

    def _moods(self, sessions: Ints, pages: Ints) -> Floats:
        """(B, K) praise minus blame heard about each item, clipped; 0 in EMPTY slots."""
        most = self.habits.most_words
        return np.clip(self._sums(sessions, pages, np.sign(self._given[sessions] - self._middle)), -most, most)

    def _means(self, sessions: Ints, pages: Ints) -> Floats:
        """(B, K) mean stars in the messages heard about each item; 0 for none."""
        given = self._given[sessions]
        times = self._sums(sessions, pages, np.ones_like(given))
        return self._sums(sessions, pages, given) / np.maximum(times, 1.0)

    def _sums(self, sessions: Ints, pages: Ints, worth: NDArray[np.float32]) -> Floats:
        """(B, K) sums over each item's messages of their `worth` (B, `_HEARD`)."""
        width = int(min(self._heard_count[sessions].max(initial=0), _HEARD))
        sums = np.zeros(pages.shape)
        # One message of each person at a time: (B, K) against (B, 1).
        for heard, each in zip(self._heard[sessions, :width].T, worth[:, :width].T, strict=True):
            sums += (pages == heard[:, None]) * each[:, None]
        sums *= pages != EMPTY
        return sums

    def _most_praised(self, agents: Ints) -> Ints:
        """(B,) most praised items (ties: lower id) that these people have not watched; EMPTY for none."""
        # (B, `_HEARD`): the items heard about, as a page per person.
        pages = self._heard[agents].astype(np.int64)
        moods = np.where((pages != EMPTY) & ~self._people.watched(agents, pages), self._moods(agents, pages), 0.0)
        # `num_items` masks all but the maxima, so that the lowest id wins.
        best = np.where(moods == moods.max(axis=1, keepdims=True), pages, self.num_items).min(axis=1)
        return np.where(moods.max(axis=1) > 0, best, EMPTY)

    def _genre(self, agent: int, number: int) -> str:
        wish = self._personas[agent].likes or self._catalogue.genres
        return wish[number % len(wish)] if wish else ""

    def _exposure(self, sessions: Ints, pages: Ints) -> Floats:
        """(B, K) log-odds by which earlier pages with the item move watching."""
        times = np.minimum(self._exposed.times(sessions, pages), self.habits.most_exposures)
        shift: Floats = self.habits.exposure * times * (pages != EMPTY)
        return shift

    def _make_room(self, rows: int) -> None:
        extra = rows - len(self._topic)
        if extra > 0:
            self._topic = np.pad(self._topic, (0, extra), constant_values=EMPTY)
            self._stars, self._searches = np.pad(self._stars, (0, extra)), np.pad(self._searches, (0, extra))
            self._heard = np.pad(self._heard, ((0, extra), (0, 0)), constant_values=EMPTY)
            self._given = np.pad(self._given, ((0, extra), (0, 0)))
            self._keys = np.pad(self._keys, (0, extra))
            self._heard_count = np.pad(self._heard_count, (0, extra))
