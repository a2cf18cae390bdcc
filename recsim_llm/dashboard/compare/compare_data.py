"""Tables for comparing runs: comparability, survival, exposure. Draws nothing.

The measures and their intervals come from `experiments.metrics`, like those of `recsim-llm compare`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from recsim_llm.errors import ConfigError
from recsim_llm.experiments.metrics import METRICS, Estimate, paired_totals
from recsim_llm.runs.run_tables import Totals
from recsim_llm.types import Floats, Item

if TYPE_CHECKING:
    import pandas as pd

    from recsim_llm.dashboard.view import RunView
    from recsim_llm.runs import Manifest

HEAD_SHARE = 0.2
"""Share of the catalogue, by real popularity, that is the head; the rest is the long tail."""
FEW = 5
"""Pages seen by fewer sessions are left out of shares by page, which would reflect single people."""
NO_GENRE = "no genre"

LABELS = {
    "watch_rate": ("Watch rate", "share of the titles shown that were watched"),
    "mean_rating": ("Mean rating", "stars of what was watched"),
    "session_length": ("Session length", "pages a session"),
    "reward": ("Reward", "sum of rewards a session"),
}
"""Name and unit of each measure, in plain words."""

_COUNTS = """
SELECT page, item, count(*) AS times
FROM (SELECT page, unnest(items) AS item FROM steps) WHERE item >= 0 GROUP BY page, item ORDER BY page, item
"""
_SURVIVAL = """
SELECT page + 1 AS page, count(*) AS sessions, sum("left"::INT)::BIGINT AS leaving
FROM steps GROUP BY page ORDER BY page
"""


def label_of(metric: str) -> tuple[str, str]:
    """Name and unit of a measure."""
    return LABELS.get(metric, (metric.replace("_", " ").capitalize(), ""))


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Map each run folder to the shortest unique suffix of its path: "demo/ease" to "ease"."""
    parts = {name: PurePosixPath(name).parts or (name,) for name in names}
    depth = max((len(path) for path in parts.values()), default=1)
    short: dict[str, str] = {}
    for name, path in parts.items():
        others = [other for key, other in parts.items() if key != name]
        ends = (path[-size:] for size in range(1, depth + 1))
        short[name] = "/".join(next((end for end in ends if all(o[-len(end) :] != end for o in others)), path))
    return short


def newest_folder(names: Sequence[str]) -> list[str]:
    """The runs in the same folder as the first one, by name: an experiment's policies.

    Args:
        names: Run folders, newest first.
    """
    parent = PurePosixPath(names[0]).parent
    return sorted(name for name in names if PurePosixPath(name).parent == parent)


def same_people(a: Manifest, b: Manifest) -> bool:
    """Whether user ids of two runs mean the same people, that is, the runs use the same data."""
    return (a.dataset, a.dataset_checksum) == (b.dataset, b.dataset_checksum)


def cautions(runs: Mapping[str, Manifest]) -> list[str]:
    """Warnings about differences that rule out or limit a comparison, as sentences."""
    data = {f"{m.dataset} {m.dataset_checksum}": m.dataset for m in runs.values()}
    found = []
    if len(data) > 1:
        names = _listed(data.values())
        found.append(
            f"These runs are of different data ({names}). People and titles are not the same ones, so there are no "
            "paired differences between them, and measures differ with the data as well as with the policy."
        )
    found += _unlike(runs)
    for name, manifest in runs.items():
        if manifest.status != "finished":
            found.append(f"{name} is {manifest.status}: its numbers are those of the pages recorded so far.")
    return found


def _unlike(runs: Mapping[str, Manifest]) -> list[str]:
    users = [f"{m.user_model}{f' played by {m.llm}' if m.llm else ''}" for m in runs.values()]
    sizes = sorted({m.page_size for m in runs.values()})
    rewards = [str(m.config.get("reward", "unknown")) for m in runs.values()]
    found = []
    if len(set(users)) > 1:
        found.append(f"The simulated users differ ({_listed(users)}): so do the numbers, whatever the policy.")
    if len(sizes) > 1:
        found.append(f"Pages hold {' or '.join(map(str, sizes))} titles: rewards and lengths are not alike.")
    if len(set(rewards)) > 1:
        found.append(f"Rewards are of different kinds ({_listed(rewards)}) and cannot be compared.")
    return found


def _listed(words: Iterable[str]) -> str:
    """The distinct words, as a list in a sentence."""
    return ", ".join(dict.fromkeys(words))


def interval_frame(summaries: Mapping[str, Mapping[str, Estimate]]) -> pd.DataFrame:
    """One row per run and measure: run, metric, value, low, high, users (those with a value)."""
    import pandas as pd

    rows = [
        (run, metric, found.value, found.low, found.high, found.n)
        for run, summary in summaries.items()
        for metric, found in summary.items()
        if metric in METRICS
    ]
    return pd.DataFrame(rows, columns=["run", "metric", "value", "low", "high", "users"])


def differences(baseline: Totals, other: Totals) -> tuple[int, dict[str, Estimate]]:
    """Paired difference of each measure from the baseline, over the people in both runs.

    Returns:
        The number of people in both runs, and the paired difference per measure; a measure that nobody has in both is
        left out.
    """
    common = len(np.intersect1d(baseline.users, other.users))
    found = {}
    for metric in METRICS if common else ():
        try:
            found[metric] = paired_totals(baseline, other, metric)
        except ConfigError:  # nobody has it in both, such as a mean rating when everything was skipped
            continue
    return common, found


def survival(view: RunView) -> pd.DataFrame:
    """Kaplan-Meier estimate of the share of sessions that continue after page n.

    "Nonparametric Estimation from Incomplete Observations", 1958. A session that is cut off at the page limit, or is
    still running, is censored: it counts for as long as it was seen.

    Returns:
        One row per page, from page 0 with everybody: page, sessions (that saw the page), leaving (after it), alive.
    """
    import pandas as pd

    frame = view.frame(_SURVIVAL)
    alive = np.cumprod(1.0 - frame["leaving"].to_numpy(np.float64) / frame["sessions"].to_numpy(np.float64))
    start = int(frame["sessions"].iloc[0]) if len(frame) else 0
    first = pd.DataFrame({"page": [0], "sessions": [start], "leaving": [0], "alive": [1.0]})
    return pd.concat([first, frame.assign(alive=alive)], ignore_index=True) if len(frame) else first.head(0)


@dataclass(frozen=True, slots=True)
class Exposure:
    """Exposure of items in a run.

    Attributes:
        items: Size of the catalogue, 0 if the run has none.
        shown: Distinct titles that were shown.
        slots: Slots with a title.
        coverage: Share of the catalogue that was shown; NaN without a catalogue.
        gini: Gini coefficient of slots over the catalogue, 0 (equal) to 1 (one title takes all); NaN without one.
        tail: Share of the slots with a title outside the fifth that is most popular in the real history; NaN without a
            catalogue or a history.
    """

    items: int
    shown: int
    slots: int
    coverage: float
    gini: float
    tail: float


def shown_counts(view: RunView) -> pd.DataFrame:
    """Impressions per page number and item: page (from 0), item, times."""
    return view.frame(_COUNTS)


def exposure(counts: pd.DataFrame, num_items: int, head: frozenset[int]) -> Exposure:
    """Exposure of items in a run, from `shown_counts`.

    Args:
        counts: Impressions by page and item.
        num_items: Size of the catalogue, 0 if unknown.
        head: Result of `head_of`.
    """
    times = counts.groupby("item")["times"].sum()
    slots, nan = int(times.sum()), float("nan")
    if not num_items or not slots:
        return Exposure(num_items, len(times), slots, nan, nan, nan)
    every = np.zeros(num_items)
    every[times.index.to_numpy(np.int64)] = times.to_numpy(np.float64)
    tail = float(times[~times.index.isin(head)].sum() / slots) if head else nan
    return Exposure(num_items, len(times), slots, len(times) / num_items, gini(every), tail)


def gini(values: Floats) -> float:
    """Gini coefficient of N values >= 0: half the mean absolute difference of two values, over the mean."""
    ordered = np.sort(values)
    ranks = 2 * np.arange(1, len(ordered) + 1) - len(ordered) - 1
    return float((ranks * ordered).sum() / (len(ordered) * ordered.sum()))


def head_of(view: RunView, num_items: int) -> frozenset[int]:
    """The fifth of the catalogue with most ratings in the visitors' real history, ties by id; empty without history."""
    frame = view.frame("SELECT item, count(*) AS times FROM history GROUP BY item ORDER BY times DESC, item")
    size = max(1, round(HEAD_SHARE * num_items))
    return frozenset(frame["item"].head(size).tolist())


def tail_by_page(counts: pd.DataFrame, head: frozenset[int]) -> pd.DataFrame:
    """Share of long-tail titles in the slots of each page number: page (from 1), share, slots."""
    outside = counts.assign(tail=counts["times"].where(~counts["item"].isin(head), 0))
    sums = outside.groupby("page")[["times", "tail"]].sum().reset_index()
    return sums.assign(page=sums["page"] + 1, share=sums["tail"] / sums["times"], slots=sums["times"])[
        ["page", "share", "slots"]
    ]


def genre_drift(counts: pd.DataFrame, items: Sequence[Item]) -> pd.DataFrame:
    """Share of each genre among the titles of each page number: page (from 1), genre, share; a page sums to 1.

    A title of several genres is split equally between them.
    """
    import pandas as pd

    rows = [(i, genre, 1 / max(len(item.genres), 1)) for i, item in enumerate(items) for genre in _genres(item)]
    known = pd.DataFrame(rows, columns=["item", "genre", "part"])
    joined = counts.merge(known, on="item")
    joined = joined.assign(weight=joined["times"] * joined["part"])
    pages = sorted(joined["page"].unique())
    # All pairs: a genre that a page did not show has a share of 0 rather than no row.
    every = pd.MultiIndex.from_product([pages, sorted(joined["genre"].unique())], names=["page", "genre"])
    sums = joined.groupby(["page", "genre"])["weight"].sum().reindex(every, fill_value=0.0)
    shares = (sums / sums.groupby("page").transform("sum")).rename("share").reset_index()
    return shares.assign(page=shares["page"] + 1)


def _genres(item: Item) -> tuple[str, ...]:
    return item.genres or (NO_GENRE,)


def main_genres(drifts: Sequence[pd.DataFrame], most: int) -> list[str]:
    """The genres with the largest mean share over pages and runs, largest first."""
    import pandas as pd

    means = pd.concat([drift.groupby("genre")["share"].mean() for drift in drifts]).groupby(level=0).sum()
    ordered = sorted(means.items(), key=lambda pair: (-float(pair[1]), str(pair[0])))
    return [str(genre) for genre, _ in ordered[:most]]


def well_seen(alive: pd.DataFrame) -> int:
    """The last page seen by at least `FEW` sessions (the very last if even page 1 was seen by fewer)."""
    seen = alive.loc[alive["sessions"] >= FEW, "page"]
    return int(seen.max() if len(seen) and seen.max() > 0 else alive["page"].max())
