"""Effects of social life: `python -m benchmarks.society texts | dose | conformity` (docs/society.md has the tables).

texts: which share of a real model's chats and posts the gate refuses, and why.
dose: what effects of a given size do to impressions, and to the spread of one promoted item along links.
conformity: whether ratings of a log follow the mean of earlier ones more than orders by chance do.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from recsim_llm.agents.fitted_sources import statistical_parameters
from recsim_llm.agents.llm.agent_users import AgentUsers
from recsim_llm.agents.named_users import played_by_llm
from recsim_llm.agents.population import SocialPopulation, make_society
from recsim_llm.agents.society.graph import SocialGraph
from recsim_llm.agents.society.inhabitants import Message
from recsim_llm.agents.society.social_turns import TextCounts
from recsim_llm.agents.society.statistical_inhabitants import SocialHabits, StatisticalInhabitants
from recsim_llm.data import Ratings, load_dataset
from recsim_llm.environments.sessions import PageRules
from recsim_llm.environments.society import SocietyRules
from recsim_llm.environments.society_env import new_society
from recsim_llm.experiments.simulation.interventions.shelf import Shelf
from recsim_llm.experiments.simulation.society_loop import live
from recsim_llm.policies import make_policy
from recsim_llm.runs import StepBatch
from recsim_llm.seeding import Stream, mix, uniforms
from recsim_llm.types import EMPTY, Bools, Floats, Ints, Reaction, Responses

TALKERS, TALKS = 8, 2
ROUNDS, PAGE, SPREADERS, SEEDS = 20, 5, 10, 8
PERMUTATIONS, LEAST_BEFORE = 200, 5


def quiet(**effects: float) -> SocialHabits:
    """Habits with no social effects except these."""
    return SocialHabits(**{"word_of_mouth": 0.0, "seek": 0.0, **effects})  # type: ignore[arg-type]


DOSES = {
    "nothing": quiet(),
    "word_of_mouth 0.25": quiet(word_of_mouth=0.25),
    "word_of_mouth 0.5": quiet(word_of_mouth=0.5),
    "word_of_mouth 1": quiet(word_of_mouth=1.0),
    "word_of_mouth 2": quiet(word_of_mouth=2.0),
    "word_of_mouth 4": quiet(word_of_mouth=4.0),
    "seek 0.5": quiet(seek=0.5),
    "word_of_mouth 0.5, seek 0.5 (default)": SocialHabits(),
    "word_of_mouth 2, seek 1": quiet(word_of_mouth=2.0, seek=1.0),
}
ALONE = {
    "conformity 0.25": quiet(conformity=0.25),
    "conformity 0.5": quiet(conformity=0.5),
    "conformity 1": quiet(conformity=1.0),
    "exposure -0.2": quiet(exposure=-0.2),
    "exposure 0.1": quiet(exposure=0.1),
    "exposure 0.2": quiet(exposure=0.2),
    "exposure 0.4": quiet(exposure=0.4),
}
"""Effects that messages about the promoted item lack, so that they are only in the table of impressions."""


def texts(dataset: str, kind: str, llm: str) -> None:
    """Let people watch what they really rated, then post and chat; twice."""
    town = make_society(dataset, kind, llm, agents=TALKERS)
    users = played_by_llm(town.users)
    assert isinstance(users, AgentUsers)
    users.reset(town.members, town.members, town.members.astype(np.uint64))
    partners = town.graph.pick(town.members, np.linspace(0.05, 0.95, TALKERS))
    counts = {"posts": TextCounts(), "chats": TextCounts()}
    for number in range(TALKS):
        _watch(users, town, number)
        hours = np.full(TALKERS, 5.0 * number + 1)
        users.texts = counts["posts"]
        heard = [message.text for message in users.post(town.members, hours)]
        users.texts = counts["chats"]
        said = users.chat(town.members, partners, hours)
        heard += [" / ".join(message.text for message in dialogue) for dialogue in said]
        print("\n".join(f"    {text}" for text in heard))
        for what, counted in counts.items():
            print(
                f"{kind}, {llm}, {dataset}, {number + 1} times {TALKERS} people: {what}\n{_report(counted)}", flush=True
            )


def _watch(users: AgentUsers, town: SocialPopulation, number: int) -> None:
    """Each sees a page of the item that they rated as the number-th of their log, and gives it the stars they gave."""
    rows = [np.flatnonzero(town.log.users == user)[number] for user in town.members.tolist()]
    stars = town.log.values[rows].astype(np.float64)[:, None]
    users.observe(town.members, town.log.items[rows].astype(np.int64)[:, None], Responses(stars > 0, stars))


def _report(counts: TextCounts) -> str:
    refused = sum(counts.refused.values())
    answers = counts.asked - counts.templates + refused  # each usable text was the last of its kind
    reasons = "".join(f"\n  {n / answers:6.1%} {reason}" for reason, n in Counter(counts.refused).most_common())
    return (
        f"  {counts.asked} asked for, {answers} texts, {refused / answers:.1%} of them refused; {counts.templates} "
        f"templates ({counts.templates / counts.asked:.1%}), {counts.lines_dropped} lines dropped{reasons}"
    )


@dataclass
class Meter:
    """Social effects on the impressions of a run: each page is also answered as if there were no messages.

    Attributes:
        seen: Number of impressions.
        moved: Number of impressions whose probability of watching differed.
        shift: Sum of the absolute differences: the expected number of outcomes changed.
        stars: Sum of the absolute differences of the expected stars.
    """

    seen: int = 0
    moved: int = 0
    shift: float = 0.0
    stars: float = 0.0

    def add(self, alone: Reaction, moved: Reaction, pages: Ints, levels: Floats) -> None:
        """Count a page."""
        gaps = np.abs(moved.watch_BK - alone.watch_BK)
        self.seen, self.moved = self.seen + int((pages != EMPTY).sum()), self.moved + int((gaps > 0).sum())
        self.shift += float(gaps.sum())
        self.stars += float(np.abs((moved.rating_BKR - alone.rating_BKR) @ levels)[pages != EMPTY].sum())


class Metered(StatisticalInhabitants):
    """Statistical people with a meter."""

    meter = Meter()

    def react(self, sessions: Ints, pages: Ints) -> Reaction:
        """See `UserModel.react`."""
        moved = super().react(sessions, pages)
        self.meter.add(self._people.react(sessions, pages), moved, pages, self.rating_levels)
        return moved


class Life(NamedTuple):
    """Result of a run: (U,) who watched the promoted item, and the meter of its impressions."""

    took: Bools
    meter: Meter


@dataclass(frozen=True)
class Place:
    """A town, its promoted item, and the people who recommend it before the first round.

    Attributes:
        town: People and their links.
        people: The statistical users of the town.
        item: The promoted item, in the first slot of every page, so that everybody sees it.
        spreaders: (S,) user ids.
        friends: (U,) mask of people who know a spreader and are not spreaders.
        others: (U,) mask of people who know no spreader and are not spreaders.
        seed: Seed for all random draws.
    """

    town: SocialPopulation
    people: Metered
    item: int
    spreaders: Ints
    friends: Bools
    others: Bools
    seed: int

    @classmethod
    def of(cls, dataset: str, seed: int) -> Place:
        """The place of a seed; its item is one that people watch once in 50 impressions on average."""
        town = make_society(dataset, graph="homophily:20", seed=seed)
        people = Metered(statistical_parameters(dataset), town.dataset.catalogue, town.personas)
        everybody = town.members
        people.reset(everybody, everybody, everybody.astype(np.uint64))
        wanted = [_wanted(people, item) for item in range(people.num_items)]
        spreaders = np.argsort(uniforms(seed, Stream.USER, everybody, 1))[:SPREADERS]
        known = np.zeros(len(everybody), dtype=np.bool_)
        for user in spreaders.tolist():
            known[town.graph.neighbours(user)] = True
        here = ~np.isin(everybody, spreaders)
        item = int(np.argmin(np.abs(np.array(wanted) - 0.02)))
        return cls(town, people, item, spreaders, known & here, ~known & here, seed)

    def live(self, habits: SocialHabits, graph: SocialGraph | None = None, promoted: bool = True) -> Life:
        """Simulate `ROUNDS` rounds; if promoted, the spreaders first tell everybody they know: five stars."""
        people, town = self.people, self.town
        people.habits, people.meter = habits, Meter()
        town = SocialPopulation(
            town.dataset, town.log, people, graph or town.graph, town.search, town.personas, town.members
        )
        society = new_society(town, town.members, SocietyRules(ROUNDS, page=PageRules(PAGE, max_pages=3)))
        shelf = Shelf(make_policy("popularity", town.log, town.dataset.catalogue, PAGE + 1), PAGE)
        shelf.advert = self.item if promoted else EMPTY

        def tell(number: int) -> None:
            for user in self.spreaders.tolist() if promoted and number == 0 else ():
                receivers = society.graph.neighbours(user)
                message = Message(user, "It is worth five stars.", self.item, float(people.rating_levels[-1]))
                society.deliver(receivers, [message] * len(receivers), np.zeros(len(receivers)))

        took = np.zeros(people.num_users, dtype=np.bool_)
        for happening in live(society, mix(self.seed, 7), shelf, tell):
            if isinstance(happening, StepBatch):
                took[happening.user[(happening.watched & (happening.items == self.item)).any(axis=1)]] = True
        return Life(took, people.meter)


def _wanted(people: StatisticalInhabitants, item: int) -> float:
    some = np.arange(0, people.num_users, 10)
    return float(people.react(some, np.full((len(some), 1), item)).watch_BK.mean())


def permuted(graph: SocialGraph, seed: int) -> SocialGraph:
    """The same links between other people."""
    order = np.argsort(uniforms(seed, Stream.USER, np.arange(graph.num_users), 2))
    return graph.among(order, graph.num_users)


def dose(dataset: str) -> None:
    """Print both tables: social effects on ordinary impressions, and the uptake of a promoted item."""
    places = [Place.of(dataset, seed) for seed in range(SEEDS)]
    print(f"{dataset}, {ROUNDS} rounds, {SEEDS} seeds\nimpressions of an ordinary life: moved, outcomes, stars")
    for name, habits in {**DOSES, **ALONE}.items():
        meters = [place.live(habits, promoted=False).meter for place in places[:2]]
        seen = sum(m.seen for m in meters)
        moved, shift, stars = (sum(getattr(m, what) for m in meters) / seen for what in ("moved", "shift", "stars"))
        print(f"  {name:38s} {seen:8,} {moved:8.2%} {shift:8.3%} {stars:8.4f}", flush=True)
    base = [place.live(quiet()) for place in places]
    print(f"promoted item, {SPREADERS} spreaders: uptake of friends, others; gain of friends, of others, difference")
    for name, habits in DOSES.items():
        print(f"  {name:38s} {_gains(places, [place.live(habits) for place in places], base)}", flush=True)
    mixed = [place.live(DOSES["word_of_mouth 2"], permuted(place.town.graph, place.seed)) for place in places]
    print(f"  {'word_of_mouth 2, links permuted':38s} {_gains(places, mixed, base)}")


def _gains(places: Sequence[Place], lives: Sequence[Life], base: Sequence[Life]) -> str:
    """Uptake, and paired gains in percentage points with 95 % t intervals over seeds."""
    uptake = {
        who: np.array([[run.took[getattr(p, who)].mean() for run in (life, before)] for p, life, before in rows])
        for rows in [list(zip(places, lives, base, strict=True))]
        for who in ("friends", "others")
    }
    gains = [100 * (shares[:, 0] - shares[:, 1]) for shares in uptake.values()]
    told = "  ".join(interval(values) for values in (*gains, gains[0] - gains[1]))
    return f"{uptake['friends'][:, 0].mean():6.1%} {uptake['others'][:, 0].mean():6.1%}  {told}"


def interval(values: Floats) -> str:
    """A mean over seeds with its 95 % t interval; without one where all seeds agree."""
    if np.ptp(values) == 0:
        return f"{values[0]:+.1f}"
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    return f"{values.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def conformity(dataset: str) -> None:
    """Print the slope of ratings on the mean of earlier ones, beside orders by chance, forwards and backwards."""
    ratings = load_dataset(dataset).ratings
    rng = np.random.default_rng(0)
    people = int(ratings.users.max()) + 1
    # Times are permuted between whole people, so that one person's ratings stay together.
    chance = np.array([slope(ratings, rng.random(people)[ratings.users]) for _ in range(PERMUTATIONS)])
    for name, times in (("forwards", ratings.times), ("backwards", -ratings.times)):
        found = slope(ratings, times)
        print(
            f"{dataset}, {name}: slope {found:+.3f}, by chance {chance.mean():+.3f} +- {chance.std():.3f}; "
            f"{found - chance.mean():+.3f} stars a star, above {np.mean(found > chance):.1%} of {PERMUTATIONS} orders"
        )


def slope(ratings: Ratings, times: Floats | Ints) -> float:
    """Least-squares slope, within items, of (rating - the person's mean) on the mean of the item's earlier ratings.

    Below 0 if order has no effect, because an item's mean holds the rating itself: compare with orders by chance.
    """
    order = np.lexsort((times, ratings.items))
    users, items, stars = ratings.users[order], ratings.items[order], ratings.values[order].astype(np.float64)
    first = np.flatnonzero(np.r_[True, items[1:] != items[:-1]])
    start = np.repeat(first, np.diff(np.r_[first, len(items)]))
    place, total = np.arange(len(items)) - start, np.cumsum(stars) - stars
    before = (total - total[start]) / np.maximum(place, 1)
    own = stars - (np.bincount(users, stars) / np.maximum(np.bincount(users), 1))[users]
    rows = place >= LEAST_BEFORE
    y, x = _within(own[rows], items[rows]), _within(before[rows], items[rows])
    return float(x @ y / (x @ x))


def _within(values: Floats, groups: Ints) -> Floats:
    means = np.bincount(groups, values) / np.maximum(np.bincount(groups), 1)
    centred: Floats = values - means[groups]
    return centred


def main(args: Sequence[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.society", description=__doc__)
    parser.add_argument("what", choices=("texts", "dose", "conformity"))
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--user-model", default="recagent")
    parser.add_argument("--llm", default="transformers:smollm2-135m")
    options = parser.parse_args(args)
    if options.what == "texts":
        texts(options.dataset, options.user_model, options.llm)
    else:
        {"dose": dose, "conformity": conformity}[options.what](options.dataset)


if __name__ == "__main__":
    main()
