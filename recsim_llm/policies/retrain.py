"""A policy that is refitted during a run, to the training log plus the items watched since."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import scipy.sparse as sp
from annotated_types import Ge, Le
from numpy.typing import NDArray

from recsim_llm.checked import CountOrNone, Name, check_fields, near
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.option_list import ListedOption, listed_options
from recsim_llm.policies.feedback import Feedback
from recsim_llm.policies.policy_spec import parse_policy
from recsim_llm.policies.ranking import RankingPolicy
from recsim_llm.types import EMPTY, Bools, Ints, Observation
from recsim_llm.untrusted import parse_json

_INNER, _LOG = "inner_", "log_"
_COLUMNS = ("users", "items", "values", "times")


@dataclass(frozen=True, slots=True)
class RetrainOptions:
    """Options of `Retrain`; all other options belong to the inner policy.

    Attributes:
        of: The inner policy, by name, or as NAME?option=value.
        every: Calls of `learn` between two fits: rounds of a society, or pages of a batch of separate sessions. 0:
            it is never refitted.
        only: What it learns from: "watched" items, or "liked" ones, which are watched with more stars than the middle
            of the log's scale.
        warm: Epochs for which each refit continues from the previous fit; 0: each starts from scratch.
    """

    of: Name = "ease"
    every: CountOrNone = 1
    only: Literal["watched", "liked"] = "watched"
    warm: Annotated[int, Ge(0), Le(1_000_000)] = 0

    def __post_init__(self) -> None:
        check_fields(self, "Policy 'retrain': {}".format)


_OWN = tuple(field.name for field in fields(RetrainOptions))


class Retrain(RankingPolicy):
    """Shows the pages of the inner policy, and refits it after every `every` rounds.

    It is fitted to the training log and all later watches, in order; of two ratings of an item by one user the later
    counts. Every fit depends only on the log, the seed and the watches, so a resumed or replayed run fits the same
    policies again.

    Attributes:
        own: Its own options; `of` is a bare name here.
        inner_options: Options of the inner policy.
        inner: The currently fitted inner policy.
        log: The training log and the ratings added since.
        middle: Middle of the rating scale of the training log, stars.
    """

    name: ClassVar[str] = "retrain"
    refits: ClassVar[bool] = False

    def __init__(self, page_size: int, seed: int, known: sp.csr_array, fitted: Mapping[str, NDArray[Any]]) -> None:
        super().__init__(page_size, seed, known, {})
        plan = parse_json(str(fitted["plan"]), "What the policy 'retrain' is made of")
        self.own = RetrainOptions(**plan["own"])
        self.inner_options: dict[str, Any] = plan["inner"]
        kind = _kind(self.own.of)
        self.inner = kind(page_size, seed, known, _part(fitted, _INNER))
        self.log = _ratings(_part(fitted, _LOG), *known.shape)
        self.middle = float(fitted["middle"])
        self._learned, self._new = (int(number) for number in fitted["progress"])
        self._catalogue: Catalogue | None = None
        self._seconds: list[float] = []
        self.fitted = dict(fitted)

    @classmethod
    def fit(cls, log: Ratings, catalogue: Catalogue, page_size: int, seed: int = 0, **options: Any) -> Self:
        """Fit the inner policy for the first time (see `RankingPolicy.fit`).

        Raises:
            ConfigError: The inner policy is unknown or cannot be refitted, or an option belongs to neither policy.
        """
        own, inner_options = _divided(options)
        inner = _kind(own.of).fit(log, catalogue, page_size, seed, **inner_options)
        rows = log.take(np.lexsort((log.values, log.items, log.times, log.users)))
        stars = (float(log.values.min()), float(log.values.max())) if len(log) else (0.0, 0.0)
        policy = cls(
            page_size,
            seed,
            inner.known,
            {
                "plan": np.array(json.dumps({"own": asdict(own), "inner": inner_options})),
                "middle": np.array(sum(stars) / 2),
                "progress": np.zeros(2, dtype=np.int64),
                **_prefixed(_INNER, inner.fitted),
                **_prefixed(_LOG, {name: getattr(rows, name) for name in _COLUMNS}),
            },
        )
        policy.stock(catalogue)
        return policy

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """See `policies.policy_protocol.FittedPolicy`."""
        own, inner_options = _divided(options)
        kind = _kind(own.of)
        kind.check_options(inner_options)
        if own.warm and not kind.goes_on():
            able = ", ".join(name for name, one in _refittable().items() if one.goes_on())
            raise ConfigError(
                f"Policy 'retrain': '{kind.name}' cannot go on from a fit; leave warm at 0, or take {able}."
            )

    @classmethod
    def listed_options(cls) -> list[ListedOption]:
        """Return its own options; options of the inner policy are accepted too."""
        return listed_options(RetrainOptions)

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return names and defaults of its own options."""
        return asdict(RetrainOptions())

    def stock(self, catalogue: Catalogue) -> None:
        """See `policies.policy_protocol.CataloguePolicy`."""
        self._catalogue = catalogue

    def act(self, observation: Observation) -> Ints:
        """Return the pages of the inner policy: (B, K) ids."""
        self.inner.page_size = self.page_size
        pages = self.inner.act(observation)
        self.why = self.inner.why
        return pages

    def learn(self, batch: Feedback) -> dict[str, float]:
        """Learn from one round, and refit the inner policy when it is due.

        Returns:
            `watched`: ratings added; `refitted`: 1 if the policy was refitted, else 0.
        """
        if not self.own.every:
            return {"watched": 0.0, "refitted": 0.0}
        taken = self._take_in(batch)
        self._learned, self._new = self._learned + 1, self._new + taken
        due = self._learned % self.own.every == 0 and self._new > 0
        if due:
            self._refit()
        return {"watched": float(taken), "refitted": float(due)}

    def counts(self) -> dict[str, float]:
        """Return the number of refits and their mean duration in seconds."""
        fits = len(self._seconds)
        return {"refits": float(fits), "seconds_per_refit": sum(self._seconds) / fits if fits else 0.0}

    @classmethod
    def load(cls, path: Path) -> Self:
        """See `RankingPolicy.load`.

        Raises:
            RecordingError: As there, or the inner policy cannot be refitted.
        """
        try:
            return super().load(path)
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise RecordingError(f"{path} is damaged ({error}). Fit the policy again.") from error

    def save(self, path: Path) -> None:
        """See `RankingPolicy.save`; ratings added since the first fit are saved too."""
        self.fitted = {
            "plan": self.fitted["plan"],
            "middle": self.fitted["middle"],
            "progress": np.array([self._learned, self._new]),
            **_prefixed(_INNER, self.inner.fitted),
            **_prefixed(_LOG, {name: getattr(self.log, name) for name in _COLUMNS}),
        }
        super().save(path)

    def _take_in(self, batch: Feedback) -> int:
        """Append the ratings that count to the log, with later times; return their number."""
        counts = batch.watched & (batch.pages != EMPTY)
        if self.own.only == "liked":
            counts &= batch.ratings > self.middle
        rows, columns = np.nonzero(counts)
        users, items = batch.users[rows].astype(np.int64), batch.pages[rows, columns].astype(np.int64)
        # Times keep each user's page order; the order of users must not matter, so pages are numbered per user.
        when = 1 + int(self.log.times.max(initial=0)) + _page_numbers(batch.users)[rows]
        old, sizes = self.log, (max(self.log.num_users, int(users.max(initial=-1)) + 1), self.log.num_items)
        new = Ratings(users, items, batch.ratings[rows, columns].astype(np.float32), when, *sizes)
        joint = _ratings({c: np.concatenate([getattr(old, c), getattr(new, c)]) for c in _COLUMNS}, *sizes)
        self.log = joint.take(_latest(joint))
        return len(new)

    def _refit(self) -> None:
        if self._catalogue is None:
            raise ConfigError("Policy 'retrain' needs the items to be fitted again: load_policy(path, catalogue).")
        started = perf_counter()
        if self.own.warm:
            options = {**self.inner_options, "epochs": self.own.warm}
            self.inner = self.inner.fine_tuned(self.log, self._catalogue, options)
        else:
            kind = type(self.inner)
            self.inner = kind.fit(self.log, self._catalogue, self.page_size, self.seed, **self.inner_options)
        self.known, self._new = self.inner.known, 0
        self._seconds.append(perf_counter() - started)


def _divided(options: Mapping[str, Any]) -> tuple[RetrainOptions, dict[str, Any]]:
    """Return its own options with the bare name of the inner policy, and that policy's options.

    Raises:
        ConfigError: A value out of its range, or an option of the inner policy that is given twice.
    """
    own = RetrainOptions(**{name: value for name, value in options.items() if name in _OWN})
    inner = parse_policy(own.of)
    if inner.file is not None:
        raise ConfigError(f"Policy 'retrain': of={own.of} is a file, which does not say how to fit it. Name a policy.")
    others = {name: value for name, value in options.items() if name not in _OWN}
    if twice := sorted(set(others) & set(inner.options)):
        raise ConfigError(f"Policy 'retrain': {', '.join(twice)} of '{inner.name}' is there twice.")
    values = {field: getattr(own, field) for field in _OWN}
    return RetrainOptions(**{**values, "of": inner.name}), {**inner.options, **others}


def _refittable() -> dict[str, type[RankingPolicy]]:
    from recsim_llm.policies import POLICIES  # the registry holds this policy

    return {n: kind for n, kind in POLICIES.items() if issubclass(kind, RankingPolicy) and kind.refits}


def _kind(name: str) -> type[RankingPolicy]:
    able = _refittable()
    if name not in able:
        raise ConfigError(
            f"Policy 'retrain': of={name} is no policy that can be fitted again.{near(name, able)} These can: "
            f"{', '.join(able)}."
        )
    return able[name]


def _page_numbers(users: Ints) -> Ints:
    """(B,) position of each row among the rows of its user, from 0."""
    import pandas as pd  # imported here, because it takes half a second

    return np.asarray(pd.Series(users).groupby(users, sort=False).cumcount(), dtype=np.int64)


def _latest(log: Ratings) -> Ints:
    """Return the rows of the latest rating per (user, item), ordered by user, time and item."""
    order = np.lexsort((log.times, log.items, log.users))
    users, items = log.users[order], log.items[order]
    last: Bools = np.append((users[1:] != users[:-1]) | (items[1:] != items[:-1]), True)[: len(order)]
    kept: Ints = order[last]
    by_user: Ints = kept[np.lexsort((log.items[kept], log.times[kept], log.users[kept]))]
    return by_user


def _ratings(columns: Mapping[str, NDArray[Any]], num_users: int, num_items: int) -> Ratings:
    return Ratings(
        columns["users"], columns["items"], columns["values"], columns["times"], int(num_users), int(num_items)
    )


def _prefixed(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {prefix + name: array for name, array in arrays.items()}


def _part(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
