"""Episodes of several visits of one user over simulated days. Independent of Gymnasium.

`cross_session` builds on this module as `page` and `vector` build on `sessions`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from recsim_llm.agents.statistical.return_times import ReturnParameters, draw_gaps, visit_satisfaction
from recsim_llm.agents.user_model import ReturningUsers, UserModel
from recsim_llm.checked import CountOrNone, check_fields
from recsim_llm.data.dataset import Ratings
from recsim_llm.environments.sessions import Outcome, PageRules, Sessions
from recsim_llm.errors import ConfigError
from recsim_llm.seeding import Stream, mix
from recsim_llm.types import Bools, Floats, Ints, Keys

NextVisit = Callable[[Ints, Floats], None]
_DAY_HOURS = 24.0


@dataclass(frozen=True, slots=True)
class VisitRules:
    """The rules of a cross-session episode.

    Attributes:
        max_visits: V, visits after which an episode is truncated.
        returning: Model of return times.
        pay_days: If True, the reward is minus the days until the return at the end of each visit, and 0 for pages.
        max_steps: Pages of all visits after which an episode is truncated; 0 for no limit.
    """

    max_visits: Annotated[int, Ge(1), Le(100_000)] = 5
    returning: ReturnParameters = field(default_factory=ReturnParameters)
    pay_days: bool = False
    max_steps: CountOrNone = 0

    def __post_init__(self) -> None:
        check_fields(self, str)


@dataclass(frozen=True, slots=True)
class VisitOutcome(Outcome):
    """The result of one step of B episodes; `left` and `truncated` are those of the episode.

    Attributes:
        visits: (B,) number of the page's visit, from 0.
        days: (B,) day of that visit; the first is on day 0.
        gaps: (B,) days until the next visit if this page ended the visit and the user comes back, else 0.
        visit_ended: (B,) whether this page ended the visit.
        visit_left: (B,) whether it ended because the user left; otherwise it ended after `max_pages`.
        satisfaction: (B,) satisfaction with the visit up to this page, inclusive, [0, 1].
    """

    visits: Ints
    days: Ints
    gaps: Ints
    visit_ended: Bools
    visit_left: Bools
    satisfaction: Floats


class VisitSessions(Sessions):
    """Up to B episodes side by side, each a sequence of visits; see `Sessions`.

    The first visit of an episode has the key of the episode, so with `max_visits=1` an episode is a session; visit
    v > 0 has the key mix(key of the episode, SESSION, v). So the same user has the same random draws in visit v under
    two policies, whatever happened before.

    Args:
        num_sessions: B.
        users: The population; must be able to begin a further visit (`next_visit_of`).
        rules: The rules of a page; `max_pages` is that of a visit.
        visits: The rules of the episode.
        log: As in `Sessions`.
        certified: As in `Sessions`.

    Raises:
        ConfigError: The users support one visit only.
    """

    def __init__(
        self,
        num_sessions: int,
        users: UserModel,
        rules: PageRules,
        visits: VisitRules,
        log: Ratings | None = None,
        certified: bool = False,
    ) -> None:
        super().__init__(num_sessions, users, rules, log, certified)
        self.visit_rules, self._next_visit = visits, next_visit_of(users)
        self._low, self._high = float(users.rating_levels[0]), float(users.rating_levels[-1])
        self.episodes = np.zeros(num_sessions, dtype=np.uint64)
        self.visits, self.days, self._steps, self._watched_count = np.zeros((4, num_sessions), dtype=np.int64)
        self._stars = np.zeros(num_sessions)

    @property
    def nbytes(self) -> int:
        """Bytes of all sessions, fixed at construction."""
        own = (self.episodes, self.visits, self.days, self._steps, self._watched_count, self._stars)
        return super().nbytes + sum(array.nbytes for array in own)

    def begin(self, sessions: Ints, users: Ints, keys: Keys) -> None:
        """Begin episodes of users, with their first visits, under these handles."""
        super().begin(sessions, users, keys)
        self.episodes[sessions] = keys
        for counts in (self.visits, self.days, self._steps, self._watched_count, self._stars):
            counts[sessions] = 0

    def show(self, sessions: Ints, pages: Ints) -> VisitOutcome:
        """Show pages; where a page ends a visit, draw the day of the return and begin the next visit."""
        page = super().show(sessions, pages)
        self._count(sessions, page)
        visits, days = self.visits[sessions], self.days[sessions]
        satisfaction = visit_satisfaction(self._stars[sessions], self._watched_count[sessions], self._low, self._high)
        over = page.left | page.truncated
        drawn = draw_gaps(self.visit_rules.returning, satisfaction, self.episodes[sessions], visits)
        gaps = np.where(over, drawn, 0)
        left, truncated = self._ends(over, gaps, visits, self._steps[sessions])
        self.ended[sessions] = left | truncated
        further = (gaps > 0) & ~truncated
        self._begin_further(sessions[further], gaps[further])
        rewards = self._days_away(over, gaps, visits) if self.visit_rules.pay_days else page.rewards
        shown = {f.name: getattr(page, f.name) for f in fields(Outcome)}
        ended = {"left": left, "truncated": truncated, "rewards": rewards}
        return VisitOutcome(**{**shown, **ended}, visits=visits, days=days, gaps=gaps, visit_ended=over,
                            visit_left=page.left, satisfaction=satisfaction)  # fmt: skip

    def _count(self, sessions: Ints, page: Outcome) -> None:
        self._steps[sessions] += 1
        self._watched_count[sessions] += page.responses.watched_BK.sum(axis=1)
        self._stars[sessions] += page.responses.ratings_BK.sum(axis=1)

    def _ends(self, over: Bools, gaps: Ints, visits: Ints, steps: Ints) -> tuple[Bools, Bools]:
        """(B,) whether the user does not come back, and (B,) whether the episode is truncated."""
        left = over & (gaps == 0)
        rules = self.visit_rules
        cut = over & (visits + 1 >= rules.max_visits)
        if rules.max_steps:
            cut |= steps >= rules.max_steps
        return left, cut & ~left

    def _begin_further(self, sessions: Ints, gaps: Ints) -> None:
        if not len(sessions):
            return
        self.visits[sessions] += 1
        self.days[sessions] += gaps
        self._watched_count[sessions], self._stars[sessions] = 0, 0.0
        self.begin_again(sessions, mix(self.episodes[sessions], Stream.SESSION, self.visits[sessions]))
        self._next_visit(sessions, self.days[sessions].astype(np.float64) * _DAY_HOURS)

    def _days_away(self, over: Bools, gaps: Ints, visits: Ints) -> Floats:
        """(B,) minus the days until the return.

        Not returning costs one day more than the longest gap for *each* missing visit; if it were paid only once, the
        best policy would drive users away immediately.
        """
        missed = (self.visit_rules.returning.days + 1) * (self.visit_rules.max_visits - visits)
        away: Floats = 0.0 - np.where(over, np.where(gaps > 0, gaps, missed), 0)
        return away


def next_visit_of(users: UserModel) -> NextVisit:
    """Return the users' function for a further visit, of (B,) handles and (B,) hours since the first visit.

    Raises:
        ConfigError: The users support one visit only.
    """
    if isinstance(users, ReturningUsers):
        return users.visit
    raise ConfigError(
        f"{type(users).__name__} live for one visit only. Cross-session episodes need statistical users, agents of any "
        "kind, or users with a method `visit` (agents.user_model.ReturningUsers)."
    )


def visit_info(sessions: VisitSessions, outcome: VisitOutcome | None) -> dict[str, np.ndarray]:
    """Return the info of B episodes in addition to `page.step_info`: the same keys after every reset and step.

    Args:
        sessions: The episodes.
        outcome: The latest step; None after a reset.

    Returns:
        visit, day: of the page just shown (of the first visit after a reset); gap: days until the next visit, 0 where
        this visit continues or there is none; visit_ended; returned: the visit ended and the user comes back; left:
        the user left this *visit*; satisfaction: with this visit, [0, 1]. Rows that did not step hold zeros.
    """
    B = len(sessions.users)
    info: dict[str, np.ndarray] = {name: np.zeros(B, dtype=np.int64) for name in ("visit", "day", "gap")}
    info |= {name: np.zeros(B, dtype=np.bool_) for name in ("visit_ended", "returned", "left")}
    info["satisfaction"] = np.zeros(B)
    if outcome is not None:
        at = outcome.sessions
        info["visit"][at], info["day"][at], info["gap"][at] = outcome.visits, outcome.days, outcome.gaps
        info["visit_ended"][at], info["returned"][at] = outcome.visit_ended, outcome.gaps > 0
        info["left"][at], info["satisfaction"][at] = outcome.visit_left, outcome.satisfaction
    return info
