"""Effect of an intervention about an item: uptake by round against control arm and placebo items, spread, opinions.

Uptake of an item by round r is the share of members who have watched it in one of the rounds from the intervention's
first to r. Arms are compared in pairs of the same person; intervals are those of `experiments.metrics`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsim_llm.experiments.metrics import Estimate, estimate
from recsim_llm.experiments.simulation.interventions.interventions import (
    CONTROL,
    Advert,
    Intervention,
    NewItem,
    Post,
    kept_plan,
)
from recsim_llm.runs import Run, read_catalogue
from recsim_llm.runs.recorded_context import HISTORY, LINKS, load_people
from recsim_llm.runs.run_files import read_parquet
from recsim_llm.types import EMPTY, Bools, Floats, Ints

PLACEBOS = 5
"""Number of placebo items: those nearest to the item in number of members' training ratings, ties by id."""
PERMUTATIONS = 200
SIGNIFICANCE = 0.05
NEVER = np.iinfo(np.int64).max
CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Arm:
    """What one run of a society recorded about its items.

    Attributes:
        members: (M,) user ids, ascending.
        rounds: Rounds of the run.
        round, user, item: (I,) one entry per impression: round from 1, row in `members`, item id.
        watched: (I,) whether it was watched.
        expected: (I,) mean stars that the person would give.
        told: (H, 3) messages that reached somebody: round from 1, row in `members`, item id.
        links: (L, 2) rows in `members`: a person, and a person whom they are linked to.
        popularity: (N,) members' training ratings of each item.
        labels: (N,) titles.
    """

    members: Ints
    rounds: int
    round: Ints
    user: Ints
    item: Ints
    watched: Bools
    expected: Floats
    told: Ints
    links: Ints
    popularity: Ints
    labels: Sequence[str]

    def first_watched(self, item: int, since: int) -> Ints:
        """(M,) round, from `since` on, in which each member first watched the item; NEVER if they did not."""
        rows = (self.item == item) & self.watched & (self.round >= since)
        first = np.full(len(self.members), NEVER)
        np.minimum.at(first, self.user[rows], self.round[rows])
        return first


@dataclass(frozen=True, slots=True)
class UptakeSpread:
    """Whether uptake follows links.

    Attributes:
        exposed, others: Share of person-rounds that end in a first watch, with and without a friend who had watched the
            item in an earlier round; only of people who had not watched it. NaN if there are none.
        permuted: Mean difference of the two shares over permuted links.
        p: One-sided p-value of the permutation test; 1 if one of the groups is empty.
    """

    exposed: float
    others: float
    permuted: float
    p: float

    @property
    def verdict(self) -> str:
        """The result in words."""
        return "follows links" if self.p < SIGNIFICANCE else CANNOT_TELL


@dataclass(frozen=True, slots=True)
class Opinion:
    """Stars that people would give the item when it was shown to them, before and since the intervention.

    Attributes:
        who: "reached" (a message about it has reached them since then) or "unreached".
        before, since: Means over people to whom it was shown in that period.
        shift: Since minus before, over people to whom it was shown in both periods.
        against: This arm minus the control arm, over people to whom it was shown in both arms since then.
    """

    who: str
    before: Estimate
    since: Estimate
    shift: Estimate
    against: Estimate


@dataclass(frozen=True, slots=True)
class Uptake:
    """Uptake of one item that an intervention is about.

    Attributes:
        arm, control: Names of the two runs.
        item: Its title.
        kind: "advert", "new_item" or "post".
        since: First round of the intervention.
        curves: (3, R) share of members who had watched it by the end of each round: in this arm, in the control arm,
            and the mean over the placebo items in this arm.
        difference: Final uptake in this arm minus that in the control arm.
        placebo: This difference for the placebo items.
        beyond: `difference` minus `placebo`, in pairs of the same person: the effect due to the item itself.
        spread: Spread along the links, in this arm and in the control arm.
        opinions: Opinions of reached and unreached people.
    """

    arm: str
    control: str
    item: str
    kind: str
    since: int
    curves: Floats
    difference: Estimate
    placebo: Estimate
    beyond: Estimate
    spread: tuple[UptakeSpread, UptakeSpread]
    opinions: tuple[Opinion, Opinion]


def verdict(found: Estimate) -> str:
    """Interpret the interval of a difference.

    >>> verdict(Estimate(0.2, 0.1, 0.3, 50)), verdict(Estimate(0.0, 0.0, 0.0, 50)), verdict(Estimate(-1, -2, -0.5, 9))
    ('rises', 'cannot tell', 'falls')
    """
    if found.low > 0:
        return "rises"
    return "falls" if found.high < 0 else CANNOT_TELL


def uptakes(runs: Sequence[Run], seed: int = 0) -> list[Uptake]:
    """Measure every item that an intervention of a run is about, if the run's control arm is among the runs.

    Args:
        runs: Runs of one or several simulations.
        seed: Seed of permutations and bootstraps.

    Raises:
        RecordingError: A file of a run is damaged.
    """
    by_folder = {run.folder.resolve(): run for run in runs}
    found = []
    for run in runs:
        control = by_folder.get(run.folder.resolve().with_name(run.folder.resolve().name + CONTROL))
        about = _about(kept_plan(run.folder))
        if control is None or not about or not (run.num_parts and control.num_parts):
            continue
        arm, other = read_arm(run), read_arm(control)
        items = {item for item, _, _ in about}
        for item, kind, since in about:
            if since <= arm.rounds:
                names = (run.manifest.name, control.manifest.name)
                found.append(measure(arm, other, item, since, items, names, kind, seed))
    return found


def measure(
    arm: Arm, control: Arm, item: int, since: int, besides: set[int], names: tuple[str, str], kind: str, seed: int = 0
) -> Uptake:
    """Measure the uptake of an item in two arms of the same members.

    Args:
        arm: The arm with the intervention.
        control: The arm without it, with the same members.
        item: Item id.
        since: First round of the intervention.
        besides: Items that interventions are about, which cannot be placebos.
        names: Names of the two runs.
        kind: Kind of the intervention.
        seed: Seed of permutations and bootstraps.
    """
    others = placebos(arm, item, besides | {item})
    ours, theirs = arm.first_watched(item, since), control.first_watched(item, since)
    # (P, M): first watch of every placebo item by every member.
    here = np.array([arm.first_watched(one, since) for one in others])
    there = np.array([control.first_watched(one, since) for one in others])
    rounds = np.arange(1, arm.rounds + 1)
    # (M,): watched in this arm minus watched in the control arm, for the same person.
    gaps = (ours < NEVER).astype(np.float64) - (theirs < NEVER)
    placebo = ((here < NEVER).astype(np.float64) - (there < NEVER)).mean(axis=0) if len(others) else np.zeros_like(gaps)
    return Uptake(
        *names,
        arm.labels[item],
        kind,
        since,
        np.array([_curve(first, rounds) for first in (ours, theirs, here)]),
        estimate(gaps, seed),
        estimate(placebo, seed),
        estimate(gaps - placebo, seed),
        (spread(ours, arm.links, since, arm.rounds, seed), spread(theirs, control.links, since, arm.rounds, seed)),
        _opinions(arm, control, item, since, seed),
    )


def placebos(arm: Arm, item: int, besides: set[int]) -> list[int]:
    """Items of similar popularity without any intervention."""
    gaps = np.abs(arm.popularity - arm.popularity[item])
    nearest = np.argsort(gaps, kind="stable").tolist()
    return [one for one in nearest if one not in besides][:PLACEBOS]


def spread(first: Ints, links: Ints, since: int, rounds: int, seed: int = 0) -> UptakeSpread:
    """Test whether people whose friends have watched an item watch it next more often than other people.

    The difference under permuted links is the null distribution, in which links have no effect: everybody keeps their
    number of friends, how often they are named as one, and when they watched. Similar friends watch alike without any
    talk (homophily): this test cannot tell the two apart, so it is reported together with that of the control arm.

    Args:
        first: (M,) round of the first watch, NEVER if none.
        links: (L, 2) a person, and a person whom they are linked to.
        since: First round that counts.
        rounds: Last round.
        seed: Seed of the permutations.
    """
    rates = _hazards(first, links, since, rounds)
    observed = rates[0] - rates[1]
    if np.isnan(observed):
        return UptakeSpread(*rates, float("nan"), 1.0)
    rng = np.random.default_rng(seed)
    drawn = [_hazards(first, permuted(links, rng), since, rounds) for _ in range(PERMUTATIONS)]
    gaps = np.array([a - b for a, b in drawn if not np.isnan(a - b)])
    # The observed difference counts as a draw, so that no p-value is 0 (Phipson and Smyth, 2010).
    p = (1 + int((gaps >= observed - 1e-12).sum())) / (len(gaps) + 1)
    return UptakeSpread(*rates, float(gaps.mean()) if len(gaps) else float("nan"), p if len(gaps) else 1.0)


def permuted(links: Ints, rng: np.random.Generator) -> Ints:
    """(L, 2) links with the same first and second ends, randomly rejoined.

    Self-links and duplicate links are mixed with others until (nearly) none is left.
    """
    out = links.copy()
    out[:, 1] = rng.permutation(out[:, 1])
    people = int(links.max(initial=0)) + 1
    for _ in range(20):
        # One integer per link, so that equal links are neighbours after sorting.
        pairs = out[:, 0] * people + out[:, 1]
        order = np.argsort(pairs, kind="stable")
        bad = out[:, 0] == out[:, 1]
        bad[order[1:]] |= pairs[order[1:]] == pairs[order[:-1]]
        if not bad.any():
            break
        mixed = np.union1d(np.flatnonzero(bad), rng.integers(0, len(out), int(bad.sum()) + 1))
        out[mixed, 1] = rng.permutation(out[mixed, 1])
    return out


def _hazards(first: Ints, links: Ints, since: int, rounds: int) -> tuple[float, float]:
    """First watches per person-round, with a friend who had watched before, and without."""
    earliest = np.full(len(first), NEVER)  # when the first friend watched
    np.minimum.at(earliest, links[:, 0], first[links[:, 1]])
    counts = np.zeros((2, 2))  # exposed or not; person-rounds, watches
    for number in range(since, rounds + 1):
        waiting, exposed = first >= number, earliest < number
        for row, group in enumerate((waiting & exposed, waiting & ~exposed)):
            counts[row] += group.sum(), (group & (first == number)).sum()
    rates = [float(watches / trials) if trials else float("nan") for trials, watches in counts]
    return rates[0], rates[1]


def _curve(first: Ints, rounds: Ints) -> Floats:
    """(R,) share who had watched by each round, from (M,) or (P, M) first rounds; NaN if there are none."""
    if not first.size:
        return np.full(len(rounds), np.nan)
    # (P * M, 1) <= (R,) -> (P * M, R); the mean over placebos and members together.
    shares: Floats = (first.reshape(-1, 1) <= rounds).mean(axis=0)
    return shares


def _opinions(arm: Arm, control: Arm, item: int, since: int, seed: int) -> tuple[Opinion, Opinion]:
    before, after = (_expected(arm, item, arm.round < since), _expected(arm, item, arm.round >= since))
    theirs = _expected(control, item, control.round >= since)
    words = arm.told[(arm.told[:, 2] == item) & (arm.told[:, 0] >= since), 1]
    reached = np.isin(np.arange(len(arm.members)), words)
    one, other = (
        Opinion(
            who,
            *(estimate(values[group], seed) for values in (before, after, after - before, after - theirs)),
        )
        for who, group in (("reached", reached), ("unreached", ~reached))
    )
    return one, other


def _expected(arm: Arm, item: int, rows: Bools) -> Floats:
    """(M,) mean stars that each member would have given the item when it was shown to them; NaN if it was not."""
    rows = rows & (arm.item == item)
    total = np.bincount(arm.user[rows], arm.expected[rows], len(arm.members))
    shown = np.bincount(arm.user[rows], minlength=len(arm.members))
    means: Floats = np.divide(total, shown, out=np.full(len(total), np.nan), where=shown > 0)
    return np.round(means, 9)  # sums in another order differ in the last bits, which must not count as a shift


def read_arm(run: Run) -> Arm:
    """Read what a recorded society did with its items.

    Raises:
        RecordingError: A file is missing or damaged.
    """
    steps, events = run.step_batch(), run.events()
    members = np.sort(np.array([persona.user for persona in load_people(run.folder)[0]], dtype=np.int64))
    visits, numbers = (events[name].to_numpy() for name in ("session", "round"))
    # If a run was interrupted, the visits of its unfinished round are in no diary yet: they count for the next round.
    size = 1 + max(int(visits.max(initial=0)), int(steps.session.max(initial=0)))
    of_visit = np.full(size, int(numbers.max(initial=-1)) + 2)
    of_visit[visits[visits != EMPTY]] = numbers[visits != EMPTY] + 1
    # (I,) indices: one impression per non-empty slot of a page.
    rows, columns = np.nonzero(steps.items != EMPTY)
    heard = (events["action"].to_numpy(zero_copy_only=False) == "hear") & (events["item"].to_numpy() != EMPTY)
    told = np.column_stack([numbers[heard] + 1, *(events[name].to_numpy()[heard] for name in ("user", "item"))])
    told = told[np.isin(told[:, 1], members)]
    told[:, 1] = np.searchsorted(members, told[:, 1])
    items, _ = read_catalogue(run.folder)
    history, links = (read_parquet(run.folder / name) for name in (HISTORY, LINKS))
    pairs = np.column_stack([links[name].to_numpy() for name in ("user", "other")]).astype(np.int64)
    return Arm(
        members=members,
        rounds=int(run.manifest.config["rounds"]),
        round=of_visit[steps.session[rows]],
        user=np.searchsorted(members, steps.user[rows]).astype(np.int64),
        item=steps.items[rows, columns].astype(np.int64),
        watched=steps.watched[rows, columns],
        expected=steps.rating_probs[rows, columns] @ np.array(run.manifest.rating_levels, dtype=np.float64),
        told=told.astype(np.int64),
        links=np.searchsorted(members, pairs[np.isin(pairs, members).all(axis=1)]).astype(np.int64),
        popularity=np.bincount(history["item"].to_numpy(), minlength=len(items)).astype(np.int64),
        labels=[item.label for item in items],
    )


def _about(plan: Sequence[Intervention]) -> list[tuple[int, str, int]]:
    """Each item that a plan is about, with the kind and round of the first intervention about it."""
    found: dict[int, tuple[int, str, int]] = {}
    for one in plan:
        match one:
            case Advert() | NewItem():
                kind = "advert" if isinstance(one, Advert) else "new_item"
            case Post() if one.item != EMPTY:
                kind = "post"
            case _:
                continue
        found.setdefault(one.item, (one.item, kind, one.round))
    return list(found.values())


def lines(found: Uptake) -> Iterator[str]:
    """The uptake in words, one line per finding, for the terminal and the report."""
    yield f"{found.arm}: {found.kind} of '{found.item}' from round {found.since}"
    yield f"  uptake by the last round: {_share(found.curves[0, -1])} here, {_share(found.curves[1, -1])} in " + (
        f"{found.control}, {_share(found.curves[2, -1])} of items of similar popularity (mean of {PLACEBOS}, here)"
    )
    for what, gap in (
        (f"less {found.control}", found.difference),
        ("the same of the items of similar popularity", found.placebo),
        ("one less the other", found.beyond),
    ):
        yield f"  {what}: {_points(gap)}: {verdict(gap)}"
    for name, along in zip((found.arm, found.control), found.spread, strict=True):
        yield (
            f"  along links in {name}: {_share(along.exposed)} a round with a friend who had watched it, "
            f"{_share(along.others)} without (permuted links: difference {_share(along.permuted)}, p = {along.p:.3f}): "
            f"{along.verdict}"
        )
    for opinion in found.opinions:
        yield (
            f"  expected stars of the {opinion.who}: {opinion.before} before ({opinion.before.n} people), "
            f"{opinion.since} since ({opinion.since.n}); shift {opinion.shift} ({opinion.shift.n}): "
            f"{verdict(opinion.shift)}; less {found.control} {opinion.against} ({opinion.against.n}): "
            f"{verdict(opinion.against)}"
        )
    yield "  had watched it by round " + ", ".join(
        f"{number}: {_share(ours)}|{_share(theirs)}" for number, (ours, theirs) in _rounds(found)
    )


def curve_table(found: Uptake) -> list[str]:
    """The diffusion curves as a Markdown table."""
    head = f"| round | {found.arm} | {found.control} | similar popularity |"
    rows = [f"| {n} | {' | '.join(map(_share, column))} |" for n, column in enumerate(found.curves.T, 1)]
    return [head, "| ---: | ---: | ---: | ---: |", *rows]


def _rounds(found: Uptake) -> list[tuple[int, tuple[float, float]]]:
    """At most ten rounds, from the intervention's first to the last."""
    last = found.curves.shape[1]
    numbers = np.unique(np.linspace(found.since, last, min(10, last - found.since + 1)).round().astype(np.int64))
    return [(n, (float(found.curves[0, n - 1]), float(found.curves[1, n - 1]))) for n in numbers.tolist()]


def _share(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.1%}"


def _points(gap: Estimate) -> str:
    scaled = replace(gap, value=100 * gap.value, low=100 * gap.low, high=100 * gap.high)
    return f"{scaled.value:+.1f} points [{scaled.low:+.1f}, {scaled.high:+.1f}], {gap.n} people"
