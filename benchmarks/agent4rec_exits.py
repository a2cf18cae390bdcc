"""Fits our declared hazard of leaving (`agents.statistical.leaving`) to the exits of a published Agent4Rec run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recsim_llm.agents.statistical.impression_fit import Pages, fit_leave
from recsim_llm.agents.statistical.leaving import LeaveParameters, leave_probability
from recsim_llm.types import Bools, Floats, Ints


@dataclass(frozen=True, slots=True)
class Exits:
    """Every page of a run.

    Attributes:
        page: (M,) number of earlier pages.
        satisfaction: (M,) running satisfaction after the page, [0, 1].
        activity: (M,) 1..3.
        left: (M,) whether the user left after it by choice.
        forced: (M,) whether the session was cut off after it, regardless of the user's choice.
    """

    page: Ints
    satisfaction: Floats
    activity: Ints
    left: Bools
    forced: Bools


def fit_exits(exits: Exits) -> tuple[LeaveParameters, Floats]:
    """Maximum likelihood of the declared form (`impression_fit.fit_leave`); forced exits are left out.

    Boredom cannot be fitted, as no item was shown twice, and memory is not fitted: both keep their declared values.

    Returns:
        The parameters, and the standard errors of base, per_page, pleasure and patience.
    """
    repeats = np.zeros(len(exits.page))
    pages = Pages(exits.page, exits.satisfaction, repeats, exits.activity, exits.left, exits.forced)
    found = fit_leave(pages, LeaveParameters())
    return found.parameters, np.array([found.errors[name] for name in ("base", "per_page", "pleasure", "patience")])


def describe(exits: Exits, max_pages: int) -> Iterator[str]:
    """The fit in words: parameters, likelihood, and the mean exit page that it implies."""
    parameters, errors = fit_exits(exits)
    p = parameters
    values = (("base", p.base), ("per_page", p.per_page), ("pleasure", p.pleasure), ("patience", p.patience))
    fitted = ", ".join(f"{name} {value:.3f} ± {error:.3f}" for (name, value), error in zip(values, errors, strict=True))
    yield f"Hazard fitted to {int((~exits.forced).sum())} free decisions: {fitted} (boredom, memory as declared)."
    hazard = leave_probability(p, exits.page, exits.satisfaction, np.zeros(len(exits.page)), exits.activity)
    free = ~exits.forced
    share = float(exits.left[free].mean())
    null = share * np.log(share) + (1 - share) * np.log(1 - share)
    yield f"Log-likelihood a decision {_likelihood(hazard, exits)[free].mean():.4f} (constant hazard {null:.4f})."
    yield "Hazard by page, as seen / as fitted"
    for level in (1, 2, 3):
        at = [free & (exits.activity == level) & (exits.page == page) for page in range(max_pages - 1)]
        pairs = "".join(f"{exits.left[a].mean():8.2f} / {hazard[a].mean():.2f}" if a.any() else "     -" for a in at)
        yield f"  activity {level}{pairs}"
    for level in (1, 2, 3):
        seen, implied = _mean_exit(exits.left, exits, level, max_pages), _mean_exit(hazard, exits, level, max_pages)
        yield f"  activity {level}: mean exit page {seen:.2f}, under the fitted hazard {implied:.2f}"


def _likelihood(hazard: Floats, exits: Exits) -> Floats:
    return np.log(np.where(exits.left, hazard, 1 - hazard))


def _mean_exit(hazard: Floats | Bools, exits: Exits, level: int, max_pages: int) -> float:
    """Mean exit page of a life table: at each page, the mean hazard of those who were there."""
    staying, total = 1.0, 0.0
    for page in range(max_pages):
        total += staying
        there = (exits.page == page) & (exits.activity == level)
        staying *= 1.0 - float(np.mean(hazard[there])) if there.any() else 0.0
    return total
