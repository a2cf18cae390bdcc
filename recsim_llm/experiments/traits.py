"""Tests whether traits separate people: compares trait levels in one run by a measure that the trait should move.

Declared directions, after Agent4Rec (whose released run shows them): active people stay longer, mavericks rate further
from the mean of an item, and people of wide taste watch more genres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsim_llm.agents.personas.persona import diversity_values
from recsim_llm.data.dataset import Catalogue
from recsim_llm.experiments.metrics import Estimate, estimate, per_user
from recsim_llm.runs import StepBatch
from recsim_llm.types import Floats, Ints, Persona

LEVELS = (1, 2, 3)
_FEWEST = 5


@dataclass(frozen=True, slots=True)
class Separation:
    """Separation of people by one trait.

    Attributes:
        trait: "activity", "conformity" or "diversity".
        measure: Name of the measure, with its unit.
        groups: Mean and interval of levels 1, 2, 3.
        gap: Level 3 minus level 1, with its interval over users; the declared direction is above 0.
    """

    trait: str
    measure: str
    groups: tuple[Estimate, Estimate, Estimate]
    gap: Estimate


def separations(
    steps: StepBatch, personas: Sequence[Persona], catalogue: Catalogue, item_means: Floats
) -> tuple[Separation, Separation, Separation]:
    """Measure how far the three traits separate the people of a run.

    Args:
        steps: Steps of one run.
        personas: The people, at least those in the run.
        catalogue: Catalogue with the genres.
        item_means: (N,) mean stars of each item, from the training ratings.
    """
    measures = (
        ("activity", "pages a session", per_user(steps, "session_length")),
        ("conformity", "squared distance of ratings to the item's mean, stars²", _distances(steps, item_means)),
        ("diversity", "genres that make up four fifths of what was watched", _genres(steps, catalogue)),
    )
    by_user = {p.user: p for p in personas}
    found = tuple(_separation(trait, measure, *values, by_user) for trait, measure, values in measures)
    return found[0], found[1], found[2]


def separation_table(found: Sequence[Separation]) -> str:
    """Format the separations as a table, one row per trait."""
    lines = [f"{'trait':<11} {'level 1':<22} {'level 2':<22} {'level 3':<22} {'3 less 1':<24} measure"]
    for s in found:
        cells = " ".join(f"{group!s:<22}" for group in s.groups)
        lines.append(f"{s.trait:<11} {cells} {s.gap!s:<24} {s.measure}")
    return "\n".join(lines)


def _separation(trait: str, measure: str, users: Ints, values: Floats, personas: dict[int, Persona]) -> Separation:
    level = np.array([getattr(personas[user], trait) for user in users.tolist()], dtype=np.int64)
    known = ~np.isnan(values)
    groups = [values[known & (level == one)] for one in LEVELS]
    estimates = tuple(estimate(group) for group in groups)
    return Separation(trait, measure, (estimates[0], estimates[1], estimates[2]), _gap(groups[0], groups[2]))


def _gap(low: Floats, high: Floats) -> Estimate:
    """Difference of two means with a normal 95 % interval: the groups are different people, hence independent."""
    if not (len(low) and len(high)):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    value = float(high.mean() - low.mean())
    if len(low) < 2 or len(high) < 2:
        return Estimate(value, float("nan"), float("nan"), len(low) + len(high))
    spread = 1.96 * float(np.sqrt(low.var(ddof=1) / len(low) + high.var(ddof=1) / len(high)))
    return Estimate(value, value - spread, value + spread, len(low) + len(high))


def _distances(steps: StepBatch, item_means: Floats) -> tuple[Ints, Floats]:
    users, row = np.unique(steps.user, return_inverse=True)
    gaps = np.where(steps.watched, (steps.ratings - item_means[np.maximum(steps.items, 0)]) ** 2, 0.0)
    total = np.bincount(row, weights=gaps.sum(axis=1), minlength=len(users))
    count = np.bincount(row, weights=steps.watched.sum(axis=1), minlength=len(users))
    values = np.full(len(users), np.nan)
    np.divide(total, count, out=values, where=count > 0)
    return users, values


def _genres(steps: StepBatch, catalogue: Catalogue) -> tuple[Ints, Floats]:
    """The trait's own formula over the watched items; users who watched fewer than 5 items have no value.

    The policy limits what can be watched: a policy that shows everybody the same items hides this trait.
    """
    users = np.unique(steps.user)
    values = np.full(len(users), np.nan)
    for place, user in enumerate(users.tolist()):
        mine = steps.user == user
        items = np.unique(steps.items[mine][steps.watched[mine]])
        if len(items) >= _FEWEST:
            counts = catalogue.genre_matrix[items].sum(axis=0, dtype=np.float64)
            values[place] = diversity_values(counts[None])[0]
    return users, values
