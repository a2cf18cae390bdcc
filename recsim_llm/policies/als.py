"""ALS for implicit feedback (Hu, Koren and Volinsky 2008), by the library `implicit`; new watches are folded in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recsim_llm.errors import MissingExtraError
from recsim_llm.policies.ranking import RankingPolicy
from recsim_llm.types import Observation


class ALS(RankingPolicy):
    """Scores are products of item factors with user factors that are solved anew for what the user watched so far."""

    name = "als"

    @classmethod
    def learn_from(
        cls,
        known: sp.csr_array,
        seed: int,
        embedding_size: int = 64,
        reg: float = 20.0,
        alpha: float = 1.0,
        epochs: int = 15,
    ) -> Mapping[str, NDArray[Any]]:
        """(N, D) item factors.

        Args:
            known: (U, N) interactions.
            seed: Seed of the starting factors.
            embedding_size: D.
            reg: Ridge penalty.
            alpha: Weight of an interaction is 1 + alpha.
            epochs: Alternating rounds.
        """
        library = _library()
        with threadpool_limits(1, "blas"):  # implicit warns otherwise: its threads and BLAS's wait for each other
            model = library(embedding_size, reg, iterations=epochs, random_state=seed, num_threads=1)
            model.fit(_weighted(known, alpha), show_progress=False)
        return {"item_factors": np.asarray(model.item_factors), "reg": np.array(reg), "alpha": np.array(alpha)}

    def scores(self, observation: Observation, taste: sp.csr_array) -> NDArray[np.floating[Any]]:
        """(B, N) products."""
        items = self.fitted["item_factors"]
        library = _library()
        with threadpool_limits(1, "blas"):
            model = library(items.shape[1], float(self.fitted["reg"]), num_threads=1)
            model.item_factors = items
            users = model.recalculate_user(np.arange(taste.shape[0]), _weighted(taste, float(self.fitted["alpha"])))
        # Not a matrix product, whose bits depend on the number of rows.
        product: NDArray[np.float32] = np.einsum("bd,nd->bn", users, items)
        return product


def _weighted(rows: sp.csr_array, alpha: float) -> sp.csr_matrix:
    return sp.csr_matrix(rows * np.float32(1.0 + alpha))


def _library() -> Any:
    # Imported before the limit on BLAS threads is set: a limit does not hold for libraries that are loaded later.
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError as error:
        raise MissingExtraError("implicit", "cf", "The policy 'als'") from error
    return AlternatingLeastSquares
