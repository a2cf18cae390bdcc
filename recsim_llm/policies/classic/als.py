"""ALS for implicit feedback (Hu, Koren and Volinsky 2008) with the library `implicit`; new watches are folded in."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.checked import NotNegative, Positive
from recsim_llm.errors import MissingExtraError
from recsim_llm.policies.ranking import Epochs, RankingPolicy, Size
from recsim_llm.policies.sparse_rows import Scores, or_popular, sparse_times
from recsim_llm.seeding import Stream, mix
from recsim_llm.types import Observation


class ALS(RankingPolicy):
    """Scores are products of item factors and user factors; user factors are solved again for each page.

    Minimises sum c_ui (p_ui - x_u y_i)^2 + reg (sum |x_u|^2 + sum |y_i|^2) over all users and items, where p_ui = 1 and
    c_ui = 1 + alpha for interactions, and p_ui = 0 and c_ui = 1 for all other pairs. Deviations from the paper: the
    log is binary, and fitting takes three conjugate-gradient steps where the paper solves exactly (the solver of
    `implicit`); users are solved exactly when pages are made. Users without any liked item are shown popular items.
    """

    name = "als"

    @classmethod
    def learn_from(
        cls,
        known: sp.csr_array,
        seed: int,
        embedding_size: Size = 64,
        reg: Positive = 20.0,
        alpha: NotNegative = 1.0,
        epochs: Epochs = 15,
        start: Mapping[str, NDArray[Any]] | None = None,
    ) -> Mapping[str, NDArray[Any]]:
        """(N, D) item factors.

        Args:
            known: (U, N) interactions.
            seed: Seed for the initial factors.
            embedding_size: D, at least 1.
            reg: Ridge penalty, above 0.
            alpha: Weight of an interaction is 1 + alpha, alpha at least 0.
            epochs: Alternating rounds, at least 1.
            start: Result of an earlier fit to continue from; None: fit from scratch.

        Raises:
            ConfigError: A value outside these ranges.
            MissingExtraError: `implicit` is not installed.
        """
        model_class = _model_class()
        with _one_blas_thread():
            model = _model(model_class, embedding_size, reg, epochs, seed)
            if start is not None:
                # Each round solves the users first, from these item factors, so user factors need not be stored.
                model.item_factors = start["item_factors"].copy()
            model.fit(_weighted(known, alpha), show_progress=False)
        return {"item_factors": np.asarray(model.item_factors), "reg": np.array(reg), "alpha": np.array(alpha)}

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) products of user and item factors.

        Raises:
            MissingExtraError: `implicit` is not installed.
        """
        items = self.fitted["item_factors"]
        model_class = _model_class()
        with _one_blas_thread():
            model = _model(model_class, items.shape[1], float(self.fitted["reg"]), 1, self.seed)
            model.item_factors = items
            users = model.recalculate_user(np.arange(taste.shape[0]), _weighted(taste, float(self.fitted["alpha"])))
        return or_popular(sparse_times(sp.csr_array(users), items.T.copy()), taste, self.popularity)


def _weighted(rows: sp.csr_array, alpha: float) -> sp.csr_matrix:
    # The compiled solver accepts 32-bit indices only.
    matrix = sp.csr_matrix(rows * np.float32(1.0 + alpha))
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return matrix


def _model_class() -> Any:
    """Import the library's class. Must run before BLAS is limited, because the import loads a second BLAS."""
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError as error:
        raise MissingExtraError("implicit", "cf", "The policy 'als'") from error
    return AlternatingLeastSquares


def _model(model_class: Any, embedding_size: int, reg: float, epochs: int, seed: int) -> Any:
    return model_class(
        factors=embedding_size,
        regularization=reg,
        iterations=epochs,
        # Hashed, because NumPy's generators refuse negative seeds.
        random_state=int(mix(seed, Stream.POLICY)),
        # One thread: the order of sums, and so the last bits, must not depend on the machine.
        num_threads=1,
    )


def _one_blas_thread() -> AbstractContextManager[Any]:
    """Limit BLAS to one thread: more only contend at this size, and `implicit` warns about them."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError as error:  # comes with implicit
        raise MissingExtraError("threadpoolctl", "cf", "The policy 'als'") from error
    limits: AbstractContextManager[Any] = threadpool_limits(1, "blas")
    return limits
