"""BiLLP's quit rule: people leave when items are too similar to those just shown, or are not liked.

The rule of BiLLP (Shi et al., SIGIR 2024) and EasyRL4Rec (Yu et al., SIGIR 2024): a person leaves when the distance of
a new item to any of the last N shown is below a threshold, when a category comes too often, or when the reward is low.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray

from recsim_llm.checked import CountOrNone, NotNegative, check_fields
from recsim_llm.types import EMPTY, Bools, Ints


@dataclass(frozen=True, slots=True)
class QuitRule:
    """When a person leaves, and how items are rated.

    Published settings: BiLLP N = 4, distance thresholds of 50 (Steam) and 15 (Amazon Books), reward below 2, ratings
    deterministic; EasyRL4Rec on MovieLens N = 7 and a threshold at about the 28th percentile of distances, on KuaiRec
    N = 9 and categories at most once. Deviations: thresholds in a model's own units mean nothing for another one's
    vectors, so `nearest` is a quantile of the distances between items of the catalogue; and the default likeness is
    about directions of taste and genres (`data.likeness`), where BiLLP takes DeepFM embeddings, which are not
    published, and EasyRL4Rec the columns of the predicted rating matrix ("ratings"). By default ratings are drawn, and
    people have their own threshold and their own cost of repetition; in neither paper do they.

    Attributes:
        window: N, how many of the last shown items a new one is compared with, at least 1.
        nearest: Quantile of the distances between two items below which they are too similar, [0, 1); 0: no such rule.
        likeness: What distances are between: "taste", directions of taste and genres; "ratings", the ratings that
            everybody is predicted to give; "raw", item factors as they are, whose length decides (kept to show what a
            wrong likeness does: docs/results).
        repeats: A person leaves when a genre of the new item occurs in the window more often than this; None: no
            such rule.
        low_reward: A person leaves when the best rating of a page is below it, in stars; 0: no such rule.
        first_item: Whether the first page can make a person leave (in BiLLP's release it cannot, whatever its reward).
        tolerance: Below which distance items are too similar: "own", each person's threshold, fitted to their
            training log (`agents.long_term.habits`); "common", the threshold of `nearest` for everybody, as published.
        repetition: Effect on a rating of similarity to the items just shown: "own", the effect in the person's logged
            ratings (`agents.long_term.habits`); "none", no effect, as published.
        ratings: "sampled", or "expected", the level nearest to the expected rating (deterministic, as in BiLLP).
        share: Share of a page's items that must be too similar, (0, 1]; irrelevant for pages of one item.
        hazard: Whether the people's own probability of leaving counts too.

    Raises:
        ConfigError: A value outside its range.
    """

    window: Annotated[int, Ge(1), Le(10_000)] = 4
    nearest: Annotated[float, Ge(0.0), Lt(1.0)] = 0.1
    likeness: Literal["taste", "ratings", "raw"] = "taste"
    repeats: CountOrNone | None = None
    low_reward: NotNegative = 2.0
    first_item: bool = True
    ratings: Literal["expected", "sampled"] = "sampled"
    share: Annotated[float, Gt(0.0), Le(1.0)] = 0.5
    hazard: bool = False
    tolerance: Literal["own", "common"] = "own"
    repetition: Literal["own", "none"] = "own"

    def __post_init__(self) -> None:
        check_fields(self, "Quit rule: {}".format)


def repeated_genres(genres: NDArray[np.bool_], repeats: int, windows: Ints, pages: Ints) -> Bools:
    """(B, K) whether a genre of an item occurs in the window more than `repeats` times.

    Args:
        genres: (N, G) which item has which genre.
        repeats: Times that a genre may occur.
        windows: As in `Likeness.near`.
        pages: As in `Likeness.near`.
    """
    counts = (genres[windows] & (windows != EMPTY)[:, :, None]).sum(axis=1)
    crowded = genres[pages] & (counts > repeats)[:, None, :]
    return np.asarray(crowded.any(axis=2) & (pages != EMPTY))
