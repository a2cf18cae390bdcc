"""Leaving as a hazard: the probability that a user ends the session after a page.

Rating logs have no exits, so these parameters are *declared*: chosen so that a user of middling patience who is never
pleased sees about 2 pages, and one who is always pleased about 8. They are fitted where a log of impressions
has exits (`agents.statistical.impression_fit`); `StatisticalParameters.leave_fitted` tells which it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Lt

from recsim_llm.types import Floats, Ints


@dataclass(frozen=True, slots=True)
class LeaveParameters:
    """Log-odds of leaving = base + per_page * page - pleasure * satisfaction + boredom * repeats - patience.

    Attributes:
        base: Log-odds after the first page, for satisfaction 0 and middling patience.
        per_page: Added for each page already seen (fatigue), log-odds per page.
        pleasure: Taken off at full satisfaction, log-odds.
        boredom: Added if everything on the page had been shown before in this session, log-odds.
        patience: Taken off for activity level 3, added for level 1 (active people browse longer), log-odds.
        memory: Weight of the past in the running satisfaction, [0, 1).
    """

    base: float = 0.0
    per_page: float = 0.15
    pleasure: float = 3.0
    boredom: float = 2.0
    patience: float = 0.7
    memory: Annotated[float, Ge(0.0), Lt(1.0)] = 0.5


def leave_probability(
    parameters: LeaveParameters, page: Ints, satisfaction: Floats, repeats: Floats, activity: Ints
) -> Floats:
    """Probability of leaving now.

    Args:
        parameters: The hazard.
        page: (B,) pages seen before this one.
        satisfaction: (B,) running satisfaction, [0, 1].
        repeats: (B,) share of this page's items already shown in this session, [0, 1].
        activity: (B,) trait level 1..3.

    Returns:
        (B,) probabilities.
    """
    p = parameters
    logit = p.base + p.per_page * page - p.pleasure * satisfaction + p.boredom * repeats - p.patience * (activity - 2)
    probability: Floats = 1.0 / (1.0 + np.exp(-logit))
    return probability
