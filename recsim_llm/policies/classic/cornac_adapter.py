"""Adapter that turns a fitted Cornac model into a policy: a score table for rating models, live calls for next-item."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.policies.ranking import RankingPolicy
from recsim_llm.policies.sequential.sequences import logged_sequences, recent_items
from recsim_llm.policies.sparse_rows import Scores, interactions, or_popular
from recsim_llm.seeding import Stream, mix_one
from recsim_llm.types import EMPTY, Floats32, Ints, Observation

_LAST = np.float32(-1e9)  # score of items that the model does not know
_LONGEST = 200  # most items of a history passed to a next-item model


class CornacModel(Protocol):
    """The part of `cornac.models.Recommender` that is used. Its raw ids must be our ids, as Python integers.

    Attributes:
        uid_map, iid_map: From our user and item ids to the model's indices.
    """

    uid_map: Mapping[int, int]
    iid_map: Mapping[int, int]

    def score(self, user_idx: int | None, history_items: list[int] = ...) -> NDArray[Any]:
        """Scores of all items in the model's own order; only next-item models take a history."""
        ...


class CornacPolicy(RankingPolicy):
    """Ranks by the scores of a Cornac model.

    Rating and ranking models score each user of the log once, when the policy is made: later watches change nothing,
    and unknown users are shown popular items. Memory and file hold one number per user and item. Next-item models are
    called for every history, also of unknown users; they exist in memory only, because the library saves them as
    pickles. Items that a model does not know come last.
    """

    name = "cornac"
    reads_log: ClassVar[bool] = True
    _model: CornacModel | None = None

    @classmethod
    def learn_from_log(
        cls, log: Ratings, catalogue: Catalogue, seed: int, model: str = "MF"
    ) -> Mapping[str, NDArray[Any]]:
        """Fit a rating or ranking model with its own defaults (one thread) on the stars of the log.

        Args:
            log: What people rated.
            catalogue: Not used.
            seed: The model's `seed`, hashed.
            model: Name of a class in `cornac.models`, such as "MF", "BPR", "EASE" or "WMF".

        Raises:
            ConfigError: There is no such model, it is a next-item model, or a score is not finite.
            MissingExtraError: `cornac` is not installed.
        """
        cornac = _import_cornac()
        known = getattr(cornac.models, str(model), None)
        if not (isinstance(known, type) and issubclass(known, cornac.models.Recommender)):
            raise ConfigError(f"Cornac has no model {model!r}; cornac.models lists them.")
        if issubclass(known, cornac.models.NextItemRecommender):
            raise ConfigError(f"{model} is a next-item model: fit it with Cornac and use CornacPolicy.from_model.")
        if not len(log):
            return _nobody(log)
        rows = sorted(zip(log.users.tolist(), log.items.tolist(), log.values.tolist(), strict=True))
        # One thread: several would update the same numbers in a race.
        options = {"seed": mix_one(seed, Stream.POLICY) % 2**31, "verbose": False, "num_threads": 1}
        taken = inspect.signature(known).parameters
        fitted = known(**{name: value for name, value in options.items() if name in taken})
        fitted.fit(cornac.data.Dataset.from_uir(rows, seed=0))
        return _table(fitted, log)

    @classmethod
    def from_model(cls, model: CornacModel, log: Ratings, page_size: int, seed: int = 0) -> Self:
        """Return a policy for a fitted model of any kind.

        Args:
            model: A fitted `cornac.models.Recommender`, whose data named users and items by the ids of `log` (the
                sessions of a next-item model's data may be named by anything).
            log: Ratings whose items are not shown to their users again.
            page_size: K, 1..N.
            seed: Not used.

        Raises:
            ConfigError: The model's ids are not those of the log, or a score is not finite.
            MissingExtraError: `cornac` is not installed.
        """
        if not isinstance(model, _import_cornac().models.NextItemRecommender):
            return cls(page_size, seed, interactions(log), _table(model, log))
        policy = cls(page_size, seed, interactions(log), {**_nobody(log), **logged_sequences(log)})
        policy._model = model
        return policy

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) scores of the model; popularity for users it cannot score."""
        if self._model is not None:
            histories = recent_items(observation, self.fitted, _LONGEST, self.min_rating)
            return or_popular(_next_items(self._model, histories, self.known.shape[1]), taste, self.popularity)
        place = {user: row for row, user in enumerate(self.fitted["people"].tolist())}
        rows = [place.get(user, -1) for user in observation["user"][:, 0].tolist()]
        chosen = [self.fitted["table"][row] if row >= 0 else self.popularity for row in rows]
        return np.array(chosen, dtype=np.float32).reshape(len(rows), -1)

    def save(self, path: Path) -> None:
        """Write the table of scores to one `.npz` file, without pickles.

        Raises:
            ConfigError: The model is a next-item model.
        """
        if self._model is not None:
            raise ConfigError("Cornac keeps next-item models as pickles only; this policy lives in memory.")
        super().save(path)


def _next_items(model: CornacModel, histories: Ints, num_items: int) -> Floats32:
    """(B, N) next-item scores after (B, L) items; one call per row, so that rows are independent."""
    ours, theirs = _columns(model, num_items)
    out = np.full((len(histories), num_items), _LAST, dtype=np.float32)
    for row, items in enumerate(histories):
        known = [model.iid_map[item] for item in items[items != EMPTY].tolist() if item in model.iid_map]
        out[row, ours] = np.asarray(model.score(None, known), dtype=np.float32).ravel()[theirs]
    return out


def _table(model: CornacModel, log: Ratings) -> dict[str, NDArray[Any]]:
    """Return `people` (P,), the users that the model knows, and `table` (P, N), their scores."""
    ours, theirs = _columns(model, log.num_items)
    people = [user for user in range(log.num_users) if user in model.uid_map]
    if not people:
        raise ConfigError("The model knows none of the log's users: fit it on data named by the log's integer ids.")
    table = np.full((len(people), log.num_items), _LAST, dtype=np.float32)
    for row, user in enumerate(people):
        table[row, ours] = np.asarray(model.score(model.uid_map[user]), dtype=np.float32).ravel()[theirs]
    if not np.isfinite(table).all():
        raise ConfigError("A score of the model is NaN or infinite.")
    return {"people": np.array(people, dtype=np.int64), "table": table}


def _nobody(log: Ratings) -> dict[str, NDArray[Any]]:
    return {"people": np.zeros(0, dtype=np.int64), "table": np.zeros((0, log.num_items), dtype=np.float32)}


def _columns(model: CornacModel, num_items: int) -> tuple[Ints, Ints]:
    """Return our ids of the items that the model knows, and the model's indices of them."""
    ours = np.array([item for item in range(num_items) if item in model.iid_map], dtype=np.int64)
    if not ours.size:
        raise ConfigError("The model knows none of the log's items: fit it on data named by the log's integer ids.")
    return ours, np.array([model.iid_map[item] for item in ours.tolist()], dtype=np.int64)


def _import_cornac() -> ModuleType:
    try:
        import cornac
    except ImportError as error:
        raise MissingExtraError("cornac", "cornac", "The policy 'cornac'") from error
    module: ModuleType = cornac
    return module
