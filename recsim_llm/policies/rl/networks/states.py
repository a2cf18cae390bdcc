"""What a network is given of an observation: one row of numbers a user. Knows no torch.

A row holds how many items the session has shown, the H items of the history (EMPTY in front), and their H stars.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsim_llm.types import EMPTY, Floats32, Observation


def pack(observation: Observation | Mapping[str, NDArray[Any]], page_size: int) -> Floats32:
    """(B, 1 + 2 H) rows of an observation.

    Args:
        observation: Of B users (`types.Observation`).
        page_size: K, items a page.
    """
    mask = observation["history_mask"] > 0
    items = np.where(mask, observation["history_items"], EMPTY)
    stars = np.where(mask, observation["history_ratings"], 0.0)
    return np.concatenate([observation["page"] * page_size, items, stars], axis=1, dtype=np.float32)
