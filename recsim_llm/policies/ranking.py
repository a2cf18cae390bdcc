"""The base class of rankers: excludes the items that a user knows and shows the K best of the rest.

A ranker scores the whole catalogue for each user; `RankingPolicy.act` makes pages of the scores.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeAlias

import numpy as np
import scipy.sparse as sp
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray

from recsim_llm.checked import check_known, check_options, check_value
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.option_list import ListedOption, listed_options
from recsim_llm.policies.policy_files import read_file, write_file
from recsim_llm.policies.sparse_rows import Scores, history_rows, interactions, logged_rows, ones, some_users
from recsim_llm.runs.step_notes import Why
from recsim_llm.types import Bools, Ints, Observation

MinRating: TypeAlias = Annotated[float, Ge(0.0), Le(1_000.0)]
Size: TypeAlias = Annotated[int, Ge(1), Le(100_000)]
"""Sizes of vectors, layers, batches and neighbourhoods."""
Epochs: TypeAlias = Annotated[int, Ge(1), Le(1_000_000)]
Dropout: TypeAlias = Annotated[float, Ge(0.0), Lt(1.0)]
Rate: TypeAlias = Annotated[float, Gt(0.0), Le(100.0)]
_NO_OPTIONS = ("known", "log", "catalogue", "seed", "start")
_BLOCK_CELLS = 4_000_000  # scores in memory at once: 16 MB of float32


@dataclass(frozen=True)
class TasteOptions:
    """Options of all rankers.

    Attributes:
        min_rating: Stars from which a rating, logged or in a history, counts as taste; 0: every rating does.
    """

    min_rating: MinRating = 0.0


class RankingPolicy:
    """A policy that shows the best-scored items that the user does not know yet. Subclasses fit and score.

    Items that the user rated in the log, or was shown in this session, come last: they only fill pages that would
    otherwise be short. Ties go to the lower id. No item appears twice on a page.

    A user's taste is the set of items that they rated in the log or watched according to the observation's history, so
    a watch counts from the next page on, and users who are not in the log are served by their history.

    Attributes:
        name: Registered name.
        page_size: K.
        seed: Seed for the policy's own random draws.
        known: (U, N) 1 where a user has rated an item in the log.
        liked: (U, N) the entries of `known` with at least `min_rating` stars.
        min_rating: Stars from which a rating counts as taste.
        popularity: (N,) number of users who rated each item.
        fitted: Learned arrays by name, as stored in the file.
        why: The scores of the latest pages; None before the first.
        reads_log: Whether it learns by `learn_from_log` (order, times, texts) instead of `learn_from` (the matrix).
        refits: Whether fitting it to a longer log changes the policy (`policies.retrain`).
    """

    name: ClassVar[str]
    reads_log: ClassVar[bool] = False
    refits: ClassVar[bool] = True

    def __init__(self, page_size: int, seed: int, known: sp.csr_array, fitted: Mapping[str, NDArray[Any]]) -> None:
        check_page_size(page_size, known.shape[1])
        self.page_size, self.seed, self.known, self.fitted = page_size, seed, known, dict(fitted)
        self.min_rating = float(fitted["min_rating"]) if "min_rating" in fitted else 0.0
        self.liked = _unpack(fitted, "liked", known.shape) if self.min_rating > 0 else known
        self.why: Why | None = None
        self.popularity = np.bincount(known.indices, minlength=known.shape[1]).astype(np.float64)

    @classmethod
    def fit(cls, log: Ratings, catalogue: Catalogue, page_size: int, seed: int = 0, **options: Any) -> Self:
        """Learn from the training ratings.

        Args:
            log: Training ratings.
            catalogue: The items.
            page_size: K, 1..N.
            seed: Seed for fitting and for the policy's own random draws.
            options: Those of `options()`, and `min_rating`: stars from which a rating, logged or in a history, counts
                as taste (default 0: every rating does). Items rated lower are still not shown again.

        Raises:
            ConfigError: An unknown option, an invalid value, a page larger than the catalogue, or a log of another
                catalogue.
        """
        return cls._fit(log, catalogue, page_size, seed, options)

    def fine_tuned(self, log: Ratings, catalogue: Catalogue, options: Mapping[str, Any]) -> Self:
        """Return a policy that continues training from this one on a longer log.

        Args:
            log: Ratings, including those that this policy was fitted to.
            catalogue: The items.
            options: As in `fit`; `epochs` is the number of further epochs.

        Raises:
            ConfigError: As in `fit`, or this policy can only be fitted from scratch (`goes_on`).
        """
        if not self.goes_on():
            raise ConfigError(f"Policy '{self.name}' cannot go on from what it has learned; fit it afresh.")
        return self._fit(log, catalogue, self.page_size, self.seed, options, start=self.fitted)

    @classmethod
    def goes_on(cls) -> bool:
        """Whether training can continue from an earlier fit: `learn_from` takes a `start`."""
        return "start" in inspect.signature(cls._learn()).parameters

    @classmethod
    def _fit(
        cls, log: Ratings, catalogue: Catalogue, page_size: int, seed: int, options: Mapping[str, Any], **start: Any
    ) -> Self:
        check_page_size(page_size, len(catalogue))
        if log.num_items != len(catalogue):
            raise ConfigError(f"The log is about {log.num_items} items, the catalogue has {len(catalogue)}.")
        cls.check_options(options)
        own = {name: value for name, value in options.items() if name != "min_rating"}
        min_rating = options.get("min_rating", 0.0)
        liked = interactions(log, min_rating)
        if cls.reads_log:
            rows = log.take(log.values >= min_rating)
            fitted = dict(cls.learn_from_log(rows, catalogue, seed=seed, **own, **start))
        else:
            fitted = dict(cls.learn_from(liked, seed=seed, **own, **start))
        if min_rating > 0:
            fitted |= {"min_rating": np.array(min_rating), **_pack("liked", liked)}
        return cls(page_size, seed, interactions(log), fitted)

    @classmethod
    def _learn(cls) -> Callable[..., Mapping[str, NDArray[Any]]]:
        return cls.learn_from_log if cls.reads_log else cls.learn_from

    @classmethod
    def learn_from(cls, known: sp.csr_array, seed: int) -> Mapping[str, NDArray[Any]]:
        """Learn arrays from (U, N) interactions."""
        raise NotImplementedError

    @classmethod
    def learn_from_log(cls, log: Ratings, catalogue: Catalogue, seed: int) -> Mapping[str, NDArray[Any]]:
        """Learn arrays from the whole log, for classes with `reads_log`.

        Args:
            log: The ratings that count as taste, in any order.
            catalogue: The items.
            seed: Seed for fitting.
        """
        raise NotImplementedError

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return names and defaults of the options of `fit` except `min_rating`."""
        learn = inspect.signature(cls._learn())
        return {n: p.default for n, p in learn.parameters.items() if n not in _NO_OPTIONS}

    @classmethod
    def listed_options(cls) -> list[ListedOption]:
        """See `policies.policy_protocol.ListedPolicy`."""
        return [*listed_options(cls._learn(), _NO_OPTIONS), *listed_options(TasteOptions)]

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """Return (B, N) finite scores, higher is better. A row must not depend on the other rows.

        Args:
            observation: Of B users.
            taste: (B, N) 1 for items that the user rated in the log or watched in this session.
        """
        raise NotImplementedError

    def excluded(self, known: Bools) -> Bools:
        """Return (B, N) the items to show only when nothing else is left: here, the known ones.

        Args:
            known: (B, N) items that a user rated in the log or was shown in this session.
        """
        return known

    def act(self, observation: Observation) -> Ints:
        """Return the K best items for each user: (B, K) ids.

        Raises:
            ConfigError: A history holds an item that the policy's catalogue does not have.
        """
        size = max(1, _BLOCK_CELLS // self.known.shape[1])
        total = len(observation["user"])
        # Blocks of users, because scores are dense (B, N).
        blocks = [self._act(some_users(observation, slice(i, i + size))) for i in range(0, total, size)]
        if not blocks:
            return np.zeros((0, self.page_size), dtype=np.int64)
        pages, scores = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        self.why = Why(observation["user"][:, 0], pages, scores.astype(np.float64))
        return pages

    def _act(self, observation: Observation) -> tuple[Ints, Scores]:
        users, stars = observation["user"][:, 0], observation["history_ratings"]
        real = observation["history_mask"] > 0
        watched = history_rows(observation, real & (stars > 0) & (stars >= self.min_rating), self.known.shape[1])
        shown = history_rows(observation, real, self.known.shape[1])
        taste = ones(logged_rows(self.liked, users) + watched)
        known = (logged_rows(self.known, users) + shown).toarray() > 0
        scores = self.scores(observation, taste)
        best = best_items(scores, self.excluded(known), self.page_size)
        return best, np.take_along_axis(scores, best, axis=1)

    def save(self, path: Path) -> None:
        """Write everything needed to act to one `.npz` file, without pickles."""
        meta: dict[str, str | int] = {"policy": self.name, "page_size": self.page_size, "seed": self.seed}
        known = {**_pack("", self.known), "shape": np.asarray(self.known.shape)}
        write_file(path, meta, known, self.fitted)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RecordingError: The file is missing, damaged, of another policy, or of another version.
        """
        data = read_file(path)
        if str(data["meta_policy"]) != cls.name:
            raise RecordingError(f"{path} holds a policy '{data['meta_policy']}', not '{cls.name}'.")
        users, items = (int(size) for size in data["known_shape"])
        known = _unpack(data, "known", (users, items))
        fitted = {k.removeprefix("fitted_"): v for k, v in data.items() if k.startswith("fitted_")}
        return cls(int(data["meta_page_size"]), int(data["meta_seed"]), known, fitted)

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Check the options of a fit before any data are loaded.

        Raises:
            ConfigError: An unknown name, or a value of another type or out of its range.
        """
        where = f"Policy '{cls.name}'"
        check_known(options, [*cls.options(), "min_rating"], where)
        check_value(f"{where}: min_rating", options.get("min_rating", 0.0), MinRating)
        own = {name: value for name, value in options.items() if name != "min_rating"}
        check_options(own, cls._learn(), where)


def best_items(scores: Scores, last: Bools, count: int) -> Ints:
    """Return (B, count) items, best first; those marked in `last` come after all others; ties go to the lower id.

    Args:
        scores: (B, N), higher is better.
        last: (B, N) mask.
        count: 1..N.

    Raises:
        ConfigError: A score is not finite.
    """
    if not np.isfinite(scores).all():
        raise ConfigError("Scores must be finite numbers; a policy returned NaN or infinity.")
    best = _top(np.where(last, -np.inf, scores), count)
    short = (~last).sum(axis=1) < count
    if short.any():
        best[short] = _marked_last(scores[short], last[short])[:, :count]
    return best


def _top(scores: Scores, count: int) -> Ints:
    # (B, 1) the count-th largest score; of the items that tie with it, the lowest ids fill the remaining places.
    lowest = np.partition(scores, -count, axis=1)[:, -count, None]
    above, equal = scores > lowest, scores == lowest
    missing = count - above.sum(axis=1, keepdims=True)
    chosen = above | (equal & (np.cumsum(equal, axis=1) <= missing))
    items = np.nonzero(chosen)[1].reshape(len(scores), count)
    order = np.argsort(-np.take_along_axis(scores, items, axis=1), axis=1, kind="stable")
    return np.take_along_axis(items, order, axis=1).astype(np.int64)


def _marked_last(scores: Scores, last: Bools) -> Ints:
    by_score = np.argsort(-scores, axis=1, kind="stable")
    unmarked_first = np.argsort(np.take_along_axis(last, by_score, axis=1), axis=1, kind="stable")
    return np.take_along_axis(by_score, unmarked_first, axis=1).astype(np.int64)


def check_page_size(page_size: int, num_items: int) -> None:
    """Check that a page fits the catalogue.

    Raises:
        ConfigError: It does not.
    """
    if not 1 <= page_size <= num_items:
        raise ConfigError(f"page_size must be within 1..{num_items} (the catalogue), not {page_size}.")


def _pack(prefix: str, matrix: sp.csr_array) -> dict[str, NDArray[Any]]:
    joint = f"{prefix}_" if prefix else ""
    return {f"{joint}indptr": matrix.indptr, f"{joint}indices": matrix.indices}


def _unpack(data: Mapping[str, NDArray[Any]], prefix: str, shape: tuple[int, int]) -> sp.csr_array:
    indices, indptr = data[f"{prefix}_indices"], data[f"{prefix}_indptr"]
    return sp.csr_array((np.ones(len(indices), dtype=np.float32), indices, indptr), shape=shape)
