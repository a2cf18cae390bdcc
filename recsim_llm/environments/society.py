"""A society: a population over rounds of simulated time. Independent of Gymnasium and of policies.

Agents wake from an event queue, so that sleeping agents cost nothing. In a round every awake agent chooses an action;
visitors are served page by page; then chats and posts travel along the graph, each delivered once to each receiver. A
trajectory depends on the seed and on what the agent was shown and told, not on the order in which agents are served.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from recsim_llm.agents.llm.clock import PAGE_HOURS, ROUND_HOURS, TALK_HOURS, WATCH_HOURS
from recsim_llm.agents.society.graph import SocialGraph
from recsim_llm.agents.society.inhabitants import Action, Inhabitants, Message
from recsim_llm.agents.society.search import CatalogueSearch
from recsim_llm.checked import Positive, check_fields
from recsim_llm.data.dataset import Ratings
from recsim_llm.environments.sessions import Outcome, PageRules, Sessions, session_keys
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import EMPTY, Floats, Ints, Keys, Observation, Persona


@dataclass(frozen=True, slots=True)
class SocietyRules:
    """The rules of a society.

    Attributes:
        rounds: Number of rounds of simulated time.
        round_hours: Simulated hours per round (RecAgent: 5).
        gap_hours: Mean hours between the end of an agent's action and their next waking, by activity level 1, 2, 3;
            exponentially distributed. Declared: two rounds, one, and half of one.
        page: The rules of visits.
    """

    rounds: Annotated[int, Ge(1), Le(10**9)] = 10
    round_hours: Positive = ROUND_HOURS
    gap_hours: tuple[Positive, Positive, Positive] = (2 * ROUND_HOURS, ROUND_HOURS, ROUND_HOURS / 2)
    page: PageRules = field(default_factory=lambda: PageRules(max_pages=5))

    def __post_init__(self) -> None:
        check_fields(self, str)

    def wakings(self, activity: Ints) -> float:
        """Expected wakings a person in the first round, [0, 1]: nobody wakes twice in a round.

        Later rounds have a little fewer, because who watches is not woken.

        Args:
            activity: (M,) trait levels 1..3 of the members.

        >>> round(SocietyRules().wakings(np.array([1, 2, 3])), 3)  # (0.393 + 0.632 + 0.865) / 3
        0.63
        """
        gaps = np.array(self.gap_hours)[activity - 1]
        return float(-np.expm1(-self.round_hours / gaps).mean())


class SocialEvent(NamedTuple):
    """One row of a society's diary.

    Attributes:
        round: Number of the round, from 0.
        hour: Simulated hours since the run began.
        user: The agent who acted, or who heard the message.
        action: "nothing", "browse", "search", "chat", "post", or "hear" (a message reached this user).
        other: The partner of a chat, or the author of a heard message; EMPTY for none or an author outside.
        item, stars: Subject of a message; EMPTY and 0 where unknown.
        text: The query, or the message.
        session: Number of the visit; EMPTY if there is none.
    """

    round: int
    hour: float
    user: int
    action: str
    other: int = EMPTY
    item: int = EMPTY
    stars: float = 0.0
    text: str = ""
    session: int = EMPTY


class Society:
    """Runs a society round by round: `open_round`, `serve` until nobody is `waiting`, `close_round`.

    Args:
        inhabitants: The population; handles are user ids.
        members: (M,) user ids who live here, ascending.
        activity: (U,) trait levels 1..3, which set how often agents wake.
        graph: The social graph; may be replaced between rounds.
        search: The search engine; None: agents browse instead of searching.
        rules: The rules.
        log: Ratings that the platform already holds.

    Attributes:
        round: Number of the round, from 0; the number of rounds after the last.
        graph: As above.
    """

    def __init__(
        self,
        inhabitants: Inhabitants,
        members: Ints,
        activity: Ints,
        graph: SocialGraph,
        search: CatalogueSearch | None,
        rules: SocietyRules,
        log: Ratings | None = None,
    ) -> None:
        self.inhabitants, self.members, self.rules, self.graph = inhabitants, np.sort(members), rules, graph
        self._activity, self._search = activity, search
        self.sessions = Sessions(inhabitants.num_users, inhabitants, rules.page, log)
        self._member = np.zeros(inhabitants.num_users, dtype=np.bool_)
        self._member[members] = True
        self._visit = np.full(inhabitants.num_users, EMPTY, dtype=np.int64)
        self._hour = np.zeros(inhabitants.num_users)
        self._wakings = np.zeros(inhabitants.num_users, dtype=np.int64)

    def begin(self, base: Keys) -> None:
        """Create all agents and draw their first waking times.

        Args:
            base: Base key of the run, shape ().
        """
        members = self.members
        self._base, self.round, self._visits = base, 0, 0
        self._lives = session_keys(base, np.arange(self.inhabitants.num_users), np.zeros_like(self._visit))
        self.sessions.begin(members, members, self._lives[members])
        self.sessions.ended[:] = True
        self._visit[:], self._hour[:], self._wakings[:] = EMPTY, 0.0, 0
        self._queue: list[tuple[float, int]] = []
        self._diary: list[SocialEvent] = []
        self._plans: dict[Action, Ints] = {}
        self._partners = self._visitors = np.zeros(0, dtype=np.int64)
        self._sleep(members)

    @property
    def ended(self) -> bool:
        """Whether the last round is over."""
        return self.round >= self.rules.rounds

    def waiting(self) -> Ints:
        """Agents that wait for a page, ascending user ids."""
        # Only this round's visitors are checked, so that sleeping agents cost nothing.
        waiting: Ints = self._visitors[~self.sessions.ended[self._visitors]]
        return waiting

    def observation(self, agents: Ints) -> Observation:
        """Return what a policy may see of these agents."""
        return self.sessions.observation(agents)

    def visit_numbers(self, agents: Ints) -> Ints:
        """(B,) numbers of the current visits, unique within a run."""
        return self._visit[agents]

    def hours(self, agents: Ints) -> Floats:
        """(B,) current hour of each agent: of their last action, or of their next waking."""
        hours: Floats = self._hour[agents]
        return hours

    def diary(self) -> list[SocialEvent]:
        """Return and clear the events since the last call."""
        diary, self._diary = self._diary, []
        return diary

    def open_round(self) -> Outcome | None:
        """Wake agents, let them choose actions, and answer searches.

        Returns:
            The searchers' responses to the results, for recorders; None if nobody searched.
        """
        awake, hours = self._wake()
        actions = self._decide(awake, hours)
        self._plans = {action: awake[actions == action] for action in Action}
        self._partners = self._choose_partners(self._plans[Action.CHAT])
        self._visitors = visitors = awake[(actions == Action.BROWSE) | (actions == Action.SEARCH)]
        self._visit[visitors] = self._visits + np.arange(len(visitors))
        self._visits += len(visitors)
        self.sessions.begin_again(visitors, session_keys(self._base, visitors, 1 + self._wakings[visitors]))
        self.inhabitants.visit(visitors, self._hour[visitors])
        queries = self._queries(self._plans[Action.SEARCH])
        self._note_plans(awake, actions, queries)
        return self._answer_searches(self._plans[Action.SEARCH], queries)

    def serve(self, agents: Ints, pages: Ints) -> Outcome:
        """Show (B, K) pages of the policy to (B,) waiting agents.

        Raises:
            InvalidActionError: See `Sessions.step`.
        """
        outcome = self.sessions.step(agents, pages)
        self._pass_time(outcome)
        return outcome

    def close_round(self) -> None:
        """Deliver chats and posts, and let agents sleep again."""
        # All messages are composed before any is delivered, so that their order does not matter.
        heard = self._chats(self._plans[Action.CHAT]) + self._posts(self._plans[Action.POST])
        self._deliver(heard)
        awake = np.sort(np.concatenate(list(self._plans.values())))
        self._sleep(awake)
        self.round += 1

    def change(self, persona: Persona) -> None:
        """Replace the persona of an agent, including the activity level that sets how often they wake."""
        self._activity = self._activity.copy()
        self._activity[persona.user] = persona.activity
        self.inhabitants.change(persona)

    def deliver(self, receivers: Ints, messages: Sequence[Message], hours: Floats) -> None:
        """Deliver messages: message i reaches receiver i."""
        self.inhabitants.hear(receivers, messages, hours)
        rows = zip(receivers.tolist(), messages, hours.tolist(), strict=True)
        self._diary += [
            SocialEvent(self.round, hour, user, "hear", m.author, m.item, m.stars, m.text) for user, m, hour in rows
        ]

    def _wake(self) -> tuple[Ints, Floats]:
        end, awake = (self.round + 1) * self.rules.round_hours, []
        while self._queue and self._queue[0][0] < end:
            awake.append(heapq.heappop(self._queue))
        hours = dict((agent, hour) for hour, agent in awake)
        agents = np.array(sorted(hours), dtype=np.int64)
        self._hour[agents] = [hours[agent] for agent in agents.tolist()]
        return agents, self._hour[agents]

    def _sleep(self, agents: Ints) -> None:
        """Draw the next waking times: an exponential gap after the last action."""
        gaps = np.array(self.rules.gap_hours)[self._activity[agents] - 1]
        self._wakings[agents] += 1
        draws = uniforms(self._lives[agents], Stream.WAKE, self._wakings[agents])
        self._hour[agents] -= gaps * np.log1p(-draws)
        for hour, agent in zip(self._hour[agents].tolist(), agents.tolist(), strict=True):
            heapq.heappush(self._queue, (hour, agent))

    def _decide(self, awake: Ints, hours: Floats) -> Ints:
        if not len(awake):
            return np.zeros(0, dtype=np.int64)
        edges = np.cumsum(self.inhabitants.intend(awake, hours)[:, :-1], axis=1)
        draws = uniforms(self._lives[awake], Stream.ACTION, self._wakings[awake])
        actions: Ints = (draws[:, None] >= edges).sum(axis=1)
        if self._search is None:
            actions[actions == Action.SEARCH] = Action.BROWSE
        # Without friends nobody would hear a message, so no model call is paid for one.
        alone = np.array([not len(self._friends(agent)) for agent in awake.tolist()])
        actions[alone & np.isin(actions, [Action.CHAT, Action.POST])] = Action.NOTHING
        return actions

    def _friends(self, agent: int) -> Ints:
        found = self.graph.neighbours(agent)
        here: Ints = found[self._member[found]]
        return here

    def _choose_partners(self, agents: Ints) -> Ints:
        draws = uniforms(self._lives[agents], Stream.GRAPH, self._wakings[agents])
        return np.array(
            [self._friend(*row) for row in zip(agents.tolist(), draws.tolist(), strict=True)], dtype=np.int64
        )

    def _friend(self, agent: int, draw: float) -> int:
        """One friend, with probability proportional to closeness."""
        found = self.graph.neighbours(agent)
        here = self._member[found]
        edges = np.cumsum(self.graph.closeness(agent)[here])
        place = int(np.searchsorted(edges, draw * edges[-1], side="right"))
        return int(found[here][min(place, len(edges) - 1)])

    def _queries(self, searchers: Ints) -> list[str]:
        return self.inhabitants.search_query(searchers, self._hour[searchers]) if len(searchers) else []

    def _note_plans(self, awake: Ints, actions: Ints, queries: Sequence[str]) -> None:
        asked = dict(zip(self._plans[Action.SEARCH].tolist(), queries, strict=True))
        partners = dict(zip(self._plans[Action.CHAT].tolist(), self._partners.tolist(), strict=True))
        for agent, action in zip(awake.tolist(), actions.tolist(), strict=True):
            visits = action in {Action.BROWSE, Action.SEARCH}
            session = int(self._visit[agent]) if visits else EMPTY
            name, hour = Action(action).name.lower(), float(self._hour[agent])
            self._diary.append(
                SocialEvent(
                    self.round,
                    hour,
                    agent,
                    name,
                    partners.get(agent, EMPTY),
                    text=asked.get(agent, ""),
                    session=session,
                )
            )

    def _answer_searches(self, searchers: Ints, queries: Sequence[str]) -> Outcome | None:
        """Show results as the first page of a visit; agents without results go on to the recommendations."""
        if self._search is None or not len(searchers):
            return None
        pages = self._search.search(queries, self.rules.page.page_size)
        found = (pages != EMPTY).any(axis=1)
        if not found.any():
            return None
        outcome = self.sessions.show(searchers[found], pages[found])
        self._pass_time(outcome)
        return outcome

    def _pass_time(self, outcome: Outcome) -> None:
        watched = outcome.responses.watched_BK.sum(axis=1)
        self._hour[outcome.users] += PAGE_HOURS + WATCH_HOURS * watched

    def _chats(self, agents: Ints) -> list[tuple[int, Message]]:
        """Return (receiver, message) pairs of the dialogues, ordered by initiator."""
        if not len(agents):
            return []
        dialogues = self.inhabitants.chat(agents, self._partners, self._hour[agents])
        self._hour[agents] += TALK_HOURS
        rows = zip(agents.tolist(), self._partners.tolist(), dialogues, strict=True)
        return [(who, message) for agent, partner, said in rows for message in said for who in (agent, partner)]

    def _posts(self, agents: Ints) -> list[tuple[int, Message]]:
        """Return (receiver, message) pairs of the posts: to their authors and all friends."""
        if not len(agents):
            return []
        posts = self.inhabitants.post(agents, self._hour[agents])
        self._hour[agents] += TALK_HOURS
        rows = zip(agents.tolist(), posts, strict=True)
        return [(who, message) for agent, message in rows for who in (agent, *self._friends(agent).tolist())]

    def _deliver(self, heard: Sequence[tuple[int, Message]]) -> None:
        if heard:
            receivers = np.array([who for who, _ in heard], dtype=np.int64)
            # Messages arrive at the end of the round, or later for agents whose visit lasted longer.
            hours = np.maximum(self._hour[receivers], (self.round + 1) * self.rules.round_hours)
            self.deliver(receivers, [message for _, message in heard], hours)
