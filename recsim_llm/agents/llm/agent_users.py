"""A population of agents of one kind as `UserModel` and `Inhabitants`: one batched `generate` per round for all.

It holds what kinds share: sessions, the running satisfaction, the clock, the hazard of leaving, and what agents say to
each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from recsim_llm.agents.llm.agent_kind import Agent, AgentKind
from recsim_llm.agents.llm.clock import PAGE_HOURS, WATCH_HOURS
from recsim_llm.agents.llm.memory.item_log import ItemLog
from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.agents.llm.thoughts import PAGE, Thinker, thought_counts
from recsim_llm.agents.society import social_turns
from recsim_llm.agents.society.inhabitants import Message
from recsim_llm.agents.society.social_turns import SocialTexts, TextCounts
from recsim_llm.agents.statistical.leaving import leave_probability
from recsim_llm.agents.statistical.statistical_users import page_satisfaction
from recsim_llm.agents.user_model import Description
from recsim_llm.data.shown import MESSAGE, quoted
from recsim_llm.language.converse import converse, garbage_collection_paused
from recsim_llm.language.label_reads import AnswerCounts
from recsim_llm.language.protocol import LLM
from recsim_llm.runs.step_notes import Remembered, Thought
from recsim_llm.types import EMPTY, Floats, Ints, Keys, Persona, Reaction, Responses

RECALLED = 5
"""Memories recalled for a page: the k of Agent4Rec and of RecAgent's long-term memory."""


class AgentUsers:
    """Language-model agents of one kind (see `agents.user_model.UserModel` and `society.inhabitants.Inhabitants`).

    Args:
        llm: Answers the prompts.
        kind: The design of the agents, with the memory of all of them.
        social: Prompts for planning, searching, chatting and posting.
        activity: (U,) trait levels 1..3, for patience.

    Attributes:
        texts: Counters of chats and posts.
        notebook: If set to a list, also receives what is added to memories, for people to read.
        thoughts: If set to a list, receives what agents think of pages; nothing else reads it.
        thinker: Asks agents what they think of a page after their choice; None: they are not asked.
    """

    def __init__(self, llm: LLM, kind: AgentKind, social: SocialTexts, activity: Ints) -> None:
        self.llm, self.kind = llm, kind
        self.num_users, self.num_items, self.rating_levels = kind.num_users, kind.num_items, kind.rating_levels
        self._social, self._activity = social, activity
        self._agents: dict[int, Agent] = {}
        self._shown = ItemLog()
        self.texts = TextCounts()
        self.notebook: list[Remembered] | None = None
        self.thoughts: list[Thought] | None = None
        self.thinker: Thinker | None = None

    @property
    def counts(self) -> AnswerCounts:
        """Counters of the model's answers."""
        return self.kind.counts

    def agent(self, handle: int) -> Agent:
        """The agent under a handle."""
        return self._agents[handle]

    def reset(self, sessions: Ints, users: Ints, keys: Keys) -> None:
        """See `UserModel.reset`: these agents are born anew, without memories."""
        self._shown.forget(sessions)
        self.kind.memory.forget(sessions, keys)
        born = [Agent(*row) for row in zip(sessions.tolist(), users.tolist(), keys.tolist(), strict=True)]
        self._agents |= {agent.handle: agent for agent in born}
        converse(self.llm, [self.kind.begin(agent) for agent in born], _users(born))

    def visit(self, agents: Ints, hours: Floats) -> None:
        """See `Inhabitants.visit`."""
        for me, hour in zip(self._at(agents), hours.tolist(), strict=True):
            me.page, me.satisfaction, me.hour = 0, 0.5, hour
        self._shown.forget(agents)

    def react(self, sessions: Ints, pages: Ints) -> Reaction:
        """See `UserModel.react`."""
        here, rows = self._at(sessions), pages.tolist()
        recalled = self.recall(sessions, [self.kind.query(me, page) for me, page in zip(here, rows, strict=True)])
        with garbage_collection_paused():
            turns = [self.kind.react(*row) for row in zip(here, rows, recalled, strict=True)]
        answers = converse(self.llm, turns, _users(here))
        watch = np.array([a.watch for a in answers], dtype=np.float64).reshape(pages.shape)
        rating = np.array([a.rating for a in answers], dtype=np.float64).reshape(*pages.shape, len(self.rating_levels))
        thoughts = tuple([a.thought for a in answers])
        return Reaction(watch, rating, thoughts if any(thoughts) else ())

    def observe(self, sessions: Ints, pages: Ints, responses: Responses) -> Floats:
        """See `UserModel.observe`."""
        here, rows, stars = self._at(sessions), pages.tolist(), responses.ratings_BK.tolist()
        if self.thinker is not None:
            self._think(self.thinker, sessions, rows, stars)
        turns = [self.kind.observe(*row) for row in zip(here, rows, stars, strict=True)]
        seen = converse(self.llm, turns, _users(here))
        repeats = self._repeats(sessions, pages)
        self._count(here, rows, responses)
        self._remember(here, seen)
        self._remember(here, converse(self.llm, [self.kind.reflect(me) for me in here], _users(here)))
        # The page just seen is already counted.
        numbers = np.array([me.page - 1 for me in here], dtype=np.int64)
        satisfaction = np.array([me.satisfaction for me in here], dtype=np.float64)
        activity = self._activity[[me.user for me in here]] if here else np.zeros(0, dtype=np.int64)
        return leave_probability(self.kind.leaving, numbers, satisfaction, repeats, activity)

    def describe(self) -> Description:
        """See `UserModel.describe`."""
        counts: dict[str, Any] = {"answers": asdict(self.counts)}
        if memory := self.kind.memory.describe():
            counts["memory"] = memory
        if self.texts.asked:
            counts["texts"] = asdict(self.texts)
        return Description(counts=counts | thought_counts(self.thinker))

    def recall(self, sessions: Ints, queries: Sequence[str], k: int = RECALLED) -> list[list[Event]]:
        """The memories of each agent that match its query best; none for "". Changes no state."""
        asked = [i for i, query in enumerate(queries) if query]
        recalled: list[list[Event]] = [[] for _ in queries]
        if asked:
            hours = self._hours(sessions[asked])
            found = self.kind.memory.recall(sessions[asked], [queries[i] for i in asked], hours, k)
            for i, events in zip(asked, found, strict=True):
                recalled[i] = events
        return recalled

    def context(self, session: int, query: str, k: int = RECALLED) -> str:
        """Who an agent is and what it remembers about a query, as its prompts state it."""
        recalled = self.recall(np.array([session]), [query], k)[0]
        return self.kind.context(self._agents[session], recalled)

    def intend(self, agents: Ints, hours: Floats) -> Floats:
        """See `Inhabitants.intend`: one label read per agent."""
        contexts = self._contexts(agents, hours)  # sets the clocks
        turns = [
            social_turns.plan(*row, self._social, self.counts) for row in zip(self._at(agents), contexts, strict=True)
        ]
        rows = converse(self.llm, turns, _users(self._at(agents)))
        return np.array(rows, dtype=np.float64).reshape(len(agents), social_turns.NUM_ACTIONS)

    def search_query(self, agents: Ints, hours: Floats) -> list[str]:
        """See `Inhabitants.search_query`: one short text per agent; a genre they like replaces an unusable one."""
        rows = zip(self._at(agents), self._contexts(agents, hours), strict=True)
        turns = [social_turns.search_query(me.user, context, self._social, self.counts) for me, context in rows]
        return converse(self.llm, turns, _users(self._at(agents)))

    def chat(self, agents: Ints, partners: Ints, hours: Floats) -> list[list[Message]]:
        """See `Inhabitants.chat`: one text per dialogue."""
        rows = zip(self._at(agents), self._at(partners), self._contexts(agents, hours), strict=True)
        turns = [
            social_turns.chat(me, other, context, self._social, self.counts, self.texts) for me, other, context in rows
        ]
        return converse(self.llm, turns, _users(self._at(agents)))

    def post(self, agents: Ints, hours: Floats) -> list[Message]:
        """See `Inhabitants.post`: one text per agent."""
        rows = zip(self._at(agents), self._contexts(agents, hours), strict=True)
        turns = [social_turns.post(me, context, self._social, self.counts, self.texts) for me, context in rows]
        return converse(self.llm, turns, _users(self._at(agents)))

    def advertise(self, item: int, slogan: str) -> None:
        """See `Inhabitants.advertise`."""
        self.kind.slogans.pop(item, None)
        if slogan:
            self.kind.slogans[item] = quoted(slogan, MESSAGE)

    def change(self, persona: Persona) -> None:
        """See `Inhabitants.change`."""
        self._activity = self._activity.copy()
        self._activity[persona.user] = persona.activity
        self._social.change(persona)
        self.kind.change(persona)

    def persona(self, user: int) -> Persona:
        """A person as described now."""
        return self._social.persona(user)

    def hear(self, agents: Ints, messages: Sequence[Message], hours: Floats) -> None:
        """See `Inhabitants.hear`."""
        users = [me.user for me in self._at(agents)]
        pairs = zip(users, messages, strict=True)
        events = [Event(self._social.heard(user, m), social_turns.HEARD_IMPORTANCE, "heard") for user, m in pairs]
        if events:
            self.kind.memory.add(agents, events, hours)
            self._note(self._at(agents), events, hours)

    def _at(self, sessions: Ints) -> list[Agent]:
        return [self._agents[session] for session in sessions.tolist()]

    def _hours(self, sessions: Ints) -> Floats:
        return np.array([me.hour for me in self._at(sessions)], dtype=np.float64)

    def _contexts(self, agents: Ints, hours: Floats) -> list[str]:
        here = self._at(agents)
        for me, hour in zip(here, hours.tolist(), strict=True):
            me.hour = max(me.hour, hour)
        recalled = self.recall(agents, [self._social.topic(me) for me in here])
        return [self.kind.context(*row) for row in zip(here, recalled, strict=True)]

    def _count(self, here: list[Agent], pages: list[list[int]], responses: Responses) -> None:
        pleased = page_satisfaction(responses, self.rating_levels).tolist()
        memory = self.kind.leaving.memory
        for me, page, joy, stars in zip(here, pages, pleased, responses.ratings_BK.tolist(), strict=True):
            me.satisfaction = memory * me.satisfaction + (1.0 - memory) * joy
            me.page += 1
            watched = [(given, -item) for item, given in zip(page, stars, strict=True) if given > 0]
            me.hour += PAGE_HOURS + WATCH_HOURS * len(watched)
            if watched:
                me.stars, me.topic = max(watched)[0], -max(watched)[1]

    def _repeats(self, sessions: Ints, pages: Ints) -> Floats:
        """(B,) share of each page that was shown before in this visit; also records the page as shown."""
        real = pages != EMPTY
        repeated = self._shown.has(sessions, pages) & real
        self._shown.add(sessions, pages, real)
        repeats: Floats = repeated.sum(axis=1) / np.maximum(real.sum(axis=1), 1)
        return repeats

    def _remember(self, here: list[Agent], seen: list[list[Event]]) -> None:
        rows = [(me, event) for me, events in zip(here, seen, strict=True) for event in events]
        if rows:
            handles = np.array([me.handle for me, _ in rows], dtype=np.int64)
            hours = np.array([me.hour for me, _ in rows], dtype=np.float64)
            events, kept = [event for _, event in rows], np.array([event.kept for _, event in rows])
            if kept.any():
                self.kind.memory.add(handles[kept], [event for event in events if event.kept], hours[kept])
            self._note([me for me, _ in rows], events, hours)

    def _think(self, thinker: Thinker, sessions: Ints, pages: list[list[int]], stars: list[list[float]]) -> None:
        """Ask agents what they think of pages before memories change, so that these are as they were for the choice."""
        here = self._at(sessions)
        recalled = self.recall(sessions, [self.kind.query(me, page) for me, page in zip(here, pages, strict=True)])
        contexts = [self.kind.context(*row) for row in zip(here, recalled, strict=True)]
        seeds = [me.key % 2**31 for me in here]
        turns = [thinker.turn(*row) for row in zip(contexts, pages, stars, seeds, strict=True)]
        texts = converse(self.llm, turns, _users(here))
        if self.thoughts is not None:
            self.thoughts += [Thought(me.user, PAGE, text) for me, text in zip(here, texts, strict=True) if text]

    def _note(self, whose: list[Agent], events: list[Event], hours: Floats) -> None:
        if self.notebook is not None:
            rows = zip(_users(whose), hours.tolist(), events, strict=True)
            self.notebook += [Remembered(user, hour, e.kind, e.importance, e.text) for user, hour, e in rows]
        if self.thoughts is not None:
            pairs = zip(_users(whose), events, strict=True)
            self.thoughts += [Thought(user, event.kind, event.text) for user, event in pairs if event.written]


def _users(agents: Sequence[Agent]) -> list[int]:
    return [agent.user for agent in agents]
