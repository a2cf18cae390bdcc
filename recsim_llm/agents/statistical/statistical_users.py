"""Statistical users: a collaborative-filtering model of the same people, stepped as arrays; no language model.

A user's taste for an item is a score in stars, s = mean + user bias + item bias + user factors . item factors.
Ratings follow an ordered logit over s, watching a logistic model, leaving a hazard (`agents.statistical.leaving`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recsim_llm.agents.llm.memory.item_log import ItemLog
from recsim_llm.agents.statistical.examination import examined
from recsim_llm.agents.statistical.leaving import LeaveParameters, leave_probability
from recsim_llm.agents.user_model import Description
from recsim_llm.errors import RecordingError
from recsim_llm.types import EMPTY, Bools, Floats, Ints, Keys, Reaction, Responses
from recsim_llm.untrusted import read_arrays

_FORMAT = 2


@dataclass(frozen=True)
class StatisticalParameters:
    """Parameters of U users and N items, with D and D2 factors and R rating levels; fitted by `fitting`.

    All float64: sums of float32 products are buffered, and may then depend on the size of the batch.

    Attributes:
        mean: Global mean, stars.
        user_bias, item_bias: (U,), (N,) stars.
        user_factors, item_factors: (U, D), (N, D); their product is in stars.
        thresholds: (R-1,) ascending; P(rating <= level k) = sigmoid((thresholds[k] - s) / scale).
        scale: Spread of the ordered logit, stars.
        watch_user, watch_item: (U,), (N,) log-odds of watching.
        watch_user_factors, watch_item_factors: (U, D2), (N, D2); D2 = 0 where there is no such term.
        watch_affinity: Log-odds of watching per unit of `log_affinity` of their product.
        watch_slope: Log-odds of watching per star of (s - mean).
        rewatch: Factor on the probability of watching again what was watched in this session, [0, 1].
        activity: (U,) trait level 1..3, for patience.
        rating_levels: (R,) stars.
        leave: The hazard of leaving.
        leave_fitted: 1 where the hazard was fitted to a log with exits, 0 where it is declared.
        examination: (S,) probability that a slot of a page is examined (`examination`); (0,) for no slot effect.
            Not empty only where it was fitted to a log of impressions, and the level of watching with it.
    """

    mean: float
    user_bias: Floats
    item_bias: Floats
    user_factors: Floats
    item_factors: Floats
    thresholds: Floats
    scale: float
    watch_user: Floats
    watch_item: Floats
    watch_user_factors: Floats
    watch_item_factors: Floats
    watch_slope: float
    activity: Ints
    rating_levels: Floats
    watch_affinity: float = 0.0
    rewatch: float = 0.1
    leave: LeaveParameters = field(default_factory=LeaveParameters)
    leave_fitted: float = 0.0
    examination: Floats = field(default_factory=lambda: np.zeros(0))

    def save(self, path: Path) -> None:
        """Write to one `.npz` file."""
        arrays = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "leave"}
        leave = {f"leave_{k}": v for k, v in dataclasses.asdict(self.leave).items()}
        with path.open("wb") as file:
            np.savez_compressed(file, format=_FORMAT, **arrays, **leave)

    @classmethod
    def load(cls, path: Path) -> StatisticalParameters:
        """Read what `save` wrote.

        Raises:
            RecordingError: The file is of another kind or version.
        """
        try:
            data = read_arrays(path)
            if int(data.pop("format")) != _FORMAT:
                raise RecordingError(f"{path} was written by another version of recsim_llm; fit the users again.")
            names = [f"leave_{f.name}" for f in dataclasses.fields(LeaveParameters)]
            leave = {name.removeprefix("leave_"): float(data.pop(name)) for name in names}
            values: dict[str, Any] = {k: float(v) if v.ndim == 0 else v for k, v in data.items()}
            return cls(**values, leave=LeaveParameters(**leave))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordingError(f"{path} is not a file of statistical users ({error}); fit them again.") from error


def scores(parameters: StatisticalParameters, users: Ints, items: Ints) -> Floats:
    """(B, K) taste in stars of (B,) users for (B, K) items (ids must be valid)."""
    p = parameters
    product: Floats = np.einsum("bd,bkd->bk", p.user_factors[users], p.item_factors[items])
    return p.mean + p.user_bias[users][:, None] + p.item_bias[items] + product


def rating_distribution(parameters: StatisticalParameters, scores_BK: Floats) -> Floats:
    """(B, K, R) ordered-logit distribution over the rating levels."""
    # (B, K, R-1) log-odds of a rating at or below each level.
    edges = (parameters.thresholds - scores_BK[..., None]) / parameters.scale
    cumulative = _sigmoid(edges)
    pmf = np.empty((*scores_BK.shape, len(parameters.rating_levels)))
    pmf[..., 0] = cumulative[..., 0]
    pmf[..., 1:-1] = cumulative[..., 1:] - cumulative[..., :-1]
    pmf[..., -1] = 1.0 - cumulative[..., -1]
    return pmf


def watch_probability(parameters: StatisticalParameters, users: Ints, items: Ints, scores_BK: Floats) -> Floats:
    """(B, K) probability of watching an item seen on a page, first time in a session."""
    p = parameters
    logit = p.watch_user[users][:, None] + p.watch_item[items] + p.watch_slope * (scores_BK - p.mean)
    if p.watch_user_factors.shape[1]:
        product = np.einsum("bd,bkd->bk", p.watch_user_factors[users], p.watch_item_factors[items])
        logit += p.watch_affinity * log_affinity(product)
    return _sigmoid(logit)


def log_affinity(product: Floats) -> Floats:
    """Log of an implicit-feedback score, floored: such scores saturate near 1, and below 0.02 they are noise."""
    result: Floats = np.log(np.maximum(product, 0.0) + 0.02)
    return result


def _sigmoid(logit: Floats) -> Floats:
    result: Floats = 1.0 / (1.0 + np.exp(-logit))
    return result


class StatisticalUsers:
    """A population of statistical users (see `agents.user_model.UserModel`).

    Session state is arrays, indexed by session handle: 40 bytes per session and, once a page was seen, 4 bytes per item
    shown in this visit or watched in this life, each at most `item_log.MOST`.
    """

    def __init__(self, parameters: StatisticalParameters) -> None:
        self.parameters = parameters
        self.num_users = len(parameters.user_bias)
        self.num_items = len(parameters.item_bias)
        self.rating_levels = parameters.rating_levels
        self._users = np.zeros(0, dtype=np.int64)
        self._pages = np.zeros(0, dtype=np.int64)
        self._satisfaction = np.zeros(0)
        self._shown, self._watched = ItemLog(), ItemLog()

    @property
    def nbytes(self) -> int:
        """Bytes of all sessions; the parameters, which they share, not counted."""
        alone = (self._users, self._pages, self._satisfaction)
        return sum(array.nbytes for array in alone) + self._shown.nbytes + self._watched.nbytes

    def reset(self, sessions: Ints, users: Ints, keys: Keys) -> None:
        """See `UserModel.reset`; statistical users have no randomness of their own, so keys are not used."""
        missing = int(sessions.max(initial=-1)) + 1 - len(self._users)
        if missing > 0:
            self._users, self._pages = np.pad(self._users, (0, missing)), np.pad(self._pages, (0, missing))
            self._satisfaction = np.pad(self._satisfaction, (0, missing))
        self._users[sessions] = users
        self._pages[sessions] = 0
        self._satisfaction[sessions] = 0.5
        self._shown.forget(sessions)
        self._watched.forget(sessions)

    def visit(self, agents: Ints, hours: Floats) -> None:
        """See `ReturningUsers.visit`: what was watched before is remembered; the hour is ignored."""
        self._pages[agents] = 0
        self._satisfaction[agents] = 0.5
        self._shown.forget(agents)

    def react(self, sessions: Ints, pages: Ints) -> Reaction:
        """See `UserModel.react`."""
        users = self._users[sessions]
        # Item 0 stands in for EMPTY (-1); its probability is set to 0 below.
        items = np.maximum(pages, 0)
        taste = self.taste(sessions, pages)
        watch = examined(watch_probability(self.parameters, users, items, taste), self.parameters.examination)
        watch[self._watched.has(sessions, pages)] *= self.parameters.rewatch
        watch[pages == EMPTY] = 0.0
        return Reaction(watch, rating_distribution(self.parameters, taste))

    def taste(self, sessions: Ints, pages: Ints) -> Floats:
        """(B, K) scores in stars; undefined for EMPTY slots."""
        return scores(self.parameters, self._users[sessions], np.maximum(pages, 0))

    def watched(self, sessions: Ints, items: Ints) -> Bools:
        """(B, K) whether these people have watched these items in this life; undefined for EMPTY slots."""
        return self._watched.has(sessions, items)

    def observe(self, sessions: Ints, pages: Ints, responses: Responses) -> Floats:
        """See `UserModel.observe`."""
        real = pages != EMPTY
        repeats = (self._shown.has(sessions, pages) & real).sum(axis=1) / np.maximum(real.sum(axis=1), 1)
        memory = self.parameters.leave.memory
        pleased = page_satisfaction(responses, self.rating_levels)
        self._satisfaction[sessions] = memory * self._satisfaction[sessions] + (1.0 - memory) * pleased
        leave = leave_probability(
            self.parameters.leave,
            self._pages[sessions],
            self._satisfaction[sessions],
            repeats,
            self.parameters.activity[self._users[sessions]],
        )
        self._shown.add(sessions, pages, real)
        self._watched.add(sessions, pages, responses.watched_BK & real)
        self._pages[sessions] += 1
        return leave

    def describe(self) -> Description:
        """See `UserModel.describe`."""
        known = self.parameters
        origins = {
            "watch level": "fitted" if len(known.examination) else "declared",
            "examination (slots)": "fitted" if len(known.examination) else "declared: none",
            "leaving": "fitted" if known.leave_fitted else "declared",
        }
        return Description(asks_llm=False, origins=origins, tastes=known)


def page_satisfaction(responses: Responses, rating_levels: Floats) -> Floats:
    """(B,) satisfaction with a page: its best rating on a scale from 0 (worst level, or nothing watched) to 1."""
    low, high = rating_levels[0], rating_levels[-1]
    best = responses.ratings_BK.max(axis=1, initial=0.0)
    pleased: Floats = np.clip((best - low) / (high - low), 0.0, 1.0)
    return pleased
