"""Effect of refitting a recommender to what its people watched: `python -m benchmarks.retraining`.

After Agent4Rec (Zhang et al., SIGIR 2024), which retrains matrix factorisation on what its agents watched and looks at
the filter bubble. Here everybody visits in each of R rounds, nobody searches or talks, and a policy is fitted again
after each round or not. Values are those of the last two rounds. Arms share people and luck; differences are paired by
person (means over seeds), with 95 % bootstrap intervals over people, which say nothing about other data or other
trainings.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from recsim_llm.agents.population import SocialPopulation, make_society
from recsim_llm.agents.society.statistical_inhabitants import StatisticalInhabitants
from recsim_llm.environments.page import draw_base_key
from recsim_llm.environments.sessions import PageRules
from recsim_llm.environments.society import SocietyRules
from recsim_llm.environments.society_env import new_society
from recsim_llm.experiments.metrics import Estimate, estimate
from recsim_llm.experiments.simulation.interventions.shelf import Shelf
from recsim_llm.experiments.simulation.society_loop import Diary, live
from recsim_llm.policies import open_policy
from recsim_llm.policies.bounds.fixed_list import FixedList
from recsim_llm.policies.policy_protocol import Policy
from recsim_llm.runs import StepBatch
from recsim_llm.types import Floats, Ints

LAST = 2
"""Number of final rounds that are measured."""
FIXED = "fixed list"
ARMS: Mapping[str, str] = {
    "random": "",
    "retrain?of=random": "random",
    "popularity": "",
    "retrain?of=popularity": "popularity",
    FIXED: "",
    "als": "",
    "retrain?of=als": "als",
    "retrain?of=als&only=liked": "als",
    "retrain?of=als&warm=3": "als",
    "bpr?epochs=30": "",
    "retrain?of=bpr?epochs=30": "bpr?epochs=30",
}
"""Baseline of each policy, "" for none."""
MEASURES = ("top genre", "genres", "watch rate", "stars")
"""Of each page: share of its items with its most frequent genre, and number of genres on it; of each item: whether it
was watched, and its stars if so."""
SPREADS = ("Gini", "coverage")
"""Of all that was shown in the measured rounds, over the catalogue: Gini coefficient, and share shown to anybody."""
RESAMPLES = 300
_HEAD = "# Retraining\n\nWhat it shows and what it does not: [results](README.md#retraining-is-there-a-filter-bubble)."


@dataclass(frozen=True)
class Found:
    """One arm.

    Attributes:
        people: (P, 4) one value per person and measure, means over seeds; NaN if undefined.
        shown: (S, P, N) impressions per seed, person and item.
        first: (2,) `top genre` and `genres` in the first round, means over people.
        seconds: Mean time of one refit; NaN without refits.
    """

    people: Floats
    shown: Ints
    first: Floats
    seconds: float


def main() -> None:
    """Run the study and write its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retraining", description=__doc__)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/results/retraining.md"))
    options = parser.parse_args()
    found = {arm: study(arm, options.dataset, options.users, options.rounds, options.seeds) for arm in ARMS}
    command = f"python -m benchmarks.retraining --dataset {options.dataset} --users {options.users}"
    text = report(found, f"{command} --rounds {options.rounds} --seeds {options.seeds}")
    options.out.write_text(text, encoding="utf-8")
    print(text)


def study(arm: str, dataset: str, users: int, rounds: int, seeds: int) -> Found:
    """Let the same people meet a policy, once with each seed."""
    started = perf_counter()
    lived = [_lived(arm, dataset, users, rounds, seed) for seed in range(seeds)]
    print(f"{arm}: {perf_counter() - started:.0f} s", flush=True)
    people, shown, first, seconds = zip(*lived, strict=True)
    with np.errstate(invalid="ignore"):
        return Found(_mean(np.array(people)), np.array(shown), np.mean(first, axis=0), float(np.mean(seconds)))


def _lived(arm: str, dataset: str, users: int, rounds: int, seed: int) -> tuple[Floats, Ints, Floats, float]:
    population = make_society(dataset, graph="none")
    assert isinstance(population.users, StatisticalInhabitants)
    population.users.habits = replace(population.users.habits, browse=1.0, search=0.0, chat=0.0, post=0.0)
    # The same people with each seed; their draws and the initial factors vary.
    members = population.members(users, 0)
    pages = PageRules(page_size=10, max_pages=2, history_length=20 * rounds)
    # Everybody wakes at once, and a round is longer than any visit.
    rules = SocietyRules(rounds, round_hours=1e6, gap_hours=(1e-3,) * 3, page=pages)
    society = new_society(population, members, rules)
    policy = _policy(arm, population, seed)
    base = np.asarray(np.uint64(draw_base_key(np.random.Generator(np.random.PCG64(seed)))))
    by_round: list[list[StepBatch]] = [[]]
    for happening in live(society, base, Shelf(policy, 10)):
        if isinstance(happening, Diary):
            by_round.append([])
        else:
            by_round[-1].append(happening)
    genres = population.dataset.catalogue.genre_matrix
    last = [steps for part in by_round[rounds - LAST : rounds] for steps in part]
    shown = np.zeros((len(members), len(genres)), dtype=np.int64)
    for steps in last:
        np.add.at(shown, (np.searchsorted(members, steps.user)[:, None], steps.items), 1)
    counts = getattr(policy, "counts", dict)()
    first = np.nanmean(values(by_round[0], members, genres)[:, :2], axis=0)
    return values(last, members, genres), shown, first, counts.get("seconds_per_refit", float("nan"))


def _policy(arm: str, population: SocialPopulation, seed: int) -> Policy:
    if arm == FIXED:
        log = population.log
        order = np.argsort(-np.bincount(log.items, minlength=log.num_items), kind="stable")
        return FixedList.of(order, log, 10)
    return open_policy(arm, population.log, population.dataset.catalogue, 10, seed)


def values(steps: list[StepBatch], members: Ints, genres: np.ndarray) -> Floats:
    """(P, 4) `MEASURES` of each member over these steps, NaN where there is no page or no watch."""
    users = np.searchsorted(members, np.concatenate([s.user for s in steps]))
    items, watched, stars = (np.concatenate([getattr(s, n) for s in steps]) for n in ("items", "watched", "ratings"))
    on_page = genres[items].sum(axis=1)  # (R, G) items of each genre
    size, count = items.shape[1], np.bincount(users, minlength=len(members))
    columns = [
        (on_page.max(axis=1) / size, count),
        ((on_page > 0).sum(axis=1), count),
        (watched.mean(axis=1), count),
        (stars.sum(axis=1), np.bincount(users, watched.sum(axis=1), len(members))),
    ]
    sums = [(np.bincount(users, total, len(members)), trials) for total, trials in columns]
    return np.array([np.divide(s, n, out=np.full(len(s), np.nan), where=n > 0) for s, n in sums]).T


def spreads(shown: Ints, weights: Floats) -> Floats:
    """(2,) `SPREADS`, means over seeds, of (S, P, N) showings to people who count (P,) times."""
    counts = np.sort(np.einsum("p,spn->sn", weights, shown), axis=1)
    ranks = 2 * np.arange(1, counts.shape[1] + 1) - counts.shape[1] - 1
    gini = (counts @ ranks) / (counts.shape[1] * counts.sum(axis=1))
    return np.array([gini.mean(), (counts > 0).mean()])


def spread_estimates(arm: Ints, other: Ints | None) -> list[Estimate]:
    """Estimates of `SPREADS`, or of their differences from another arm, with the same people resampled in both."""
    people, rng = arm.shape[1], np.random.default_rng(0)

    def value(weights: Floats) -> Floats:
        return spreads(arm, weights) - (0.0 if other is None else spreads(other, weights))

    drawn = rng.multinomial(people, np.full(people, 1 / people), RESAMPLES).astype(np.float64)
    found = value(np.ones(people))
    low, high = np.percentile([value(weights) for weights in drawn], [2.5, 97.5], axis=0)
    # A resample covers less than the whole sample, so the interval is reflected (basic bootstrap).
    return [Estimate(v, 2 * v - h, 2 * v - b, people) for v, b, h in zip(found, low, high, strict=True)]


def report(found: Mapping[str, Found], command: str) -> str:
    """The tables in Markdown."""
    head = ["policy", *MEASURES, *SPREADS]
    levels, gaps = [head, ["---"] * len(head)], [["policy less the other", *head[1:]], ["---"] * len(head)]
    for arm, one in found.items():
        first = f" (round 1: {one.first[0]:.3f}, {one.first[1]:.2f})"
        means = [f"{value:.3f}" for value in [*np.nanmean(one.people, axis=0), *spreads(one.shown, _all(one))]]
        levels.append([f"`{arm}`{first}", *means])
        other = found.get(ARMS[arm])
        if other is not None:
            cells = [estimate(column) for column in (one.people - other.people).T]
            cells += spread_estimates(one.shown, other.shown)
            gaps.append([f"`{arm}` less `{ARMS[arm]}`", *map(_cell, cells)])
    seconds = ", ".join(f"`{arm}` {one.seconds:.2f}" for arm, one in found.items() if not np.isnan(one.seconds))
    tables = ["\n".join(f"| {' | '.join(row)} |" for row in rows) for rows in (levels, gaps)]
    return "\n\n".join([_HEAD, f"```\n{command}\n```", *tables, f"Seconds of one fit again: {seconds}."]) + "\n"


def _cell(gap: Estimate) -> str:
    told = "" if gap.low > 0 or gap.high < 0 else ", cannot tell"
    return f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]{told}"


def _all(one: Found) -> Floats:
    return np.ones(one.shown.shape[1])


def _mean(values: Floats) -> Floats:
    """Mean over the first axis, ignoring NaN; NaN if all values are NaN."""
    there = ~np.isnan(values)
    total, count = np.where(there, values, 0.0).sum(axis=0), there.sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


if __name__ == "__main__":
    main()
