"""Network inputs: an observation packed into one row of numbers per user. Does not import torch.

A row holds the number of items shown in the session, the H items of the history (EMPTY in front), and their H stars.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsim_llm.types import EMPTY, Floats32, Observation


def pack(observation: Observation | Mapping[str, NDArray[Any]], page_size: int) -> Floats32:
    """Pack an observation into (B, 1 + 2 H) rows.

    Args:
        observation: Of B users (`types.Observation`).
        page_size: K, items per page.
    """
    mask = observation["history_mask"] > 0
    items = np.where(mask, observation["history_items"], EMPTY)
    stars = np.where(mask, observation["history_ratings"], 0.0)
    return np.concatenate([observation["page"] * page_size, items, stars], axis=1, dtype=np.float32)
