"""Figures of an Agent4Rec run: as stored, as reproduced by the published rules, and by our resolution of titles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from benchmarks.agent4rec_data import LEVELS, RecordedPage, Run
from benchmarks.agent4rec_exits import Exits
from recsim_llm.agents.llm.pages.page_answers import AnswerLine, PageAnswerText, answer_lines
from recsim_llm.agents.llm.pages.page_titles import resolve_title
from recsim_llm.agents.statistical.statistical_users import page_satisfaction
from recsim_llm.types import Floats, Ints, Responses

Key = tuple[int, int]
PageLine = tuple[RecordedPage, AnswerLine]
_RATED = re.compile(r"MOVIE:\s*(.*?);\s*RATING:\s*\d")
_LINE = re.compile(r"MOVIE:\s*(.*?);\s*(ALIGN|RATING)\b")
_STORED = {
    "likes": "Average number of likes",
    "click": "Overall click rate",
    "exit": "Average exit page",
    "recall": "Average recall",
    "precision": "Average presion",
}


@dataclass(frozen=True, slots=True)
class SeenPage:
    """One page in our environment.

    Attributes:
        items: Ids, in order.
        watched: Per item.
        stars: Per item, 0 if not watched.
        left, truncated: How the session ended after the page, if it did.
    """

    items: tuple[int, ...]
    watched: tuple[bool, ...]
    stars: tuple[float, ...]
    left: bool
    truncated: bool


@dataclass(frozen=True, slots=True)
class Check:
    """A comparison with the published values.

    Attributes:
        line: Description.
        passed: Whether the values agree.
    """

    line: str
    passed: bool


def check_pages(run: Run, seen: Mapping[Key, SeenPage]) -> Iterator[Check]:
    """Compare the pages of our policy with the recorded ones, including their number."""
    same = sum(key in seen and seen[key].items == page.shown for key, page in run.pages.items())
    line = (
        f"Pages identical: {same:,} of {len(run.pages):,}; pages that we show besides: {len(seen.keys() - run.pages)}."
    )
    yield Check(line, same == len(run.pages) == len(seen))


def check_served(run: Run, seen: Mapping[Key, SeenPage], known: Mapping[int, Set[int]]) -> Iterator[Check]:
    """Check served recorded pages: sessions have the recorded length, no item is known (per user) or shown twice."""
    line = f"Recorded pages served (no vectors, so no check of a policy): {len(seen):,} of {len(run.pages):,}."
    yield Check(line, seen.keys() == run.pages.keys())
    wrong = 0
    for user in run.users.tolist():
        items = [item for (who, _), page in run.pages.items() if who == user for item in page.shown]
        wrong += len(items) - len(set(items) - known[user])
    yield Check(f"Of their items, in the user's train or test items or shown before: {wrong}.", wrong == 0)


def check_stored(run: Run, max_pages: int) -> Iterator[Check]:
    """Check the stored ids and figures against the recorded texts, by the published run's own rule.

    The rule: of a page's n lines "MOVIE: ...; RATING: <digit>", whatever their titles, the ids are the page's first n.
    """
    watched = {key: stored_watched(page) for key, page in run.pages.items()}
    same = sum(watched[key] == run.watch_ids[key] for key in run.pages)
    line = f"Ids stored as watched, by answer order: {same:,} of {len(run.pages):,} pages."
    yield Check(line, same == len(run.pages) == len(run.watch_ids))
    for name, value in published_figures(run, watched, max_pages).items():
        stored = run.metrics[_STORED[name]]
        yield Check(f"Stored {name}: {value:.4f} (published {stored:.4f}).", abs(value - stored) < 1e-9)


def stored_watched(page: RecordedPage) -> list[int]:
    """The ids that the published run stored."""
    return list(page.shown[: len(_RATED.findall(page.response))])


def published_figures(run: Run, watched: Mapping[Key, Sequence[int]], max_pages: int) -> dict[str, float]:
    """The published definitions.

    likes: mean over agents of the mean over their pages of watched items. click: watched / (agents x max_pages x K).
    exit: mean of pages seen. recall, precision: over an agent's pages, watched items in the validation split, of
    those on the pages and of those watched (0 where there are none), averaged over agents.
    """
    rows = [_agent(run, watched, user) for user in run.users.tolist()]
    pages, count, hits, there = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    size = len(next(iter(run.pages.values())).shown)
    return {
        "likes": float(np.mean(count / pages)),
        "click": float(count.sum() / (len(rows) * max_pages * size)),
        "exit": float(pages.mean()),
        "recall": float(np.mean(hits / np.maximum(there, 1))),
        "precision": float(np.mean(hits / np.maximum(count, 1))),
    }


def _agent(run: Run, watched: Mapping[Key, Sequence[int]], user: int) -> tuple[int, int, int, int]:
    """Counts of pages, watched items, watched items in the validation split, and shown items in it."""
    number = count = hits = there = 0
    while (user, number) in run.pages:
        page, chosen = run.pages[user, number], set(watched[user, number])
        true = {item for item, hit in zip(page.shown, page.hits, strict=True) if hit}
        number, count, hits, there = number + 1, count + len(chosen), hits + len(chosen & true), there + len(true)
    return number, count, hits, there


def corrected(run: Run, seen: Mapping[Key, SeenPage], max_pages: int) -> Iterator[str]:
    """The published definitions on the watches of our environment, and the number of wrong stored ids."""
    watched = {key: [i for i, w in zip(p.items, p.watched, strict=True) if w] for key, p in seen.items()}
    values = published_figures(run, watched, max_pages)
    yield "Corrected, titles resolved: " + ", ".join(f"{name} {value:.4f}" for name, value in values.items()) + "."
    stored = {key: stored_watched(page) for key, page in run.pages.items()}
    absent = sum(len(set(ids) - set(watched[key])) for key, ids in stored.items())
    other = sum(_misplaced(page, stored[key]) for key, page in run.pages.items())
    total = sum(map(len, stored.values()))
    yield (
        f"Of {total:,} ids stored as watched, {other:,} ({other / total:.1%}) are not that of the item rated on their "
        f"line, {absent:,} ({absent / total:.1%}) of no item watched on that page."
    )


def _misplaced(page: RecordedPage, stored: Sequence[int]) -> int:
    """Number of stored ids that differ from the id of the title on their line."""
    rated = [resolve_title(title, page.titles) for title in _RATED.findall(page.response)]
    return sum(place is None or page.shown[place] != item for place, item in zip(rated, stored, strict=True))


def check_resolution(run: Run, lines: Sequence[PageLine]) -> Iterator[Check]:
    """Shares of lines resolved by our parser and by exact titles.

    A resolved line may still be wrong: the model was told to answer about all items and did so in their order, so the
    align lines of a page must come out as its items in order.
    """
    for kind, least in (("align", 0.994), ("rating", 0.995)):
        ours = [line.item is not None for _, line in lines if line.kind == kind]
        exact = [
            title.strip() in page.titles
            for page in run.pages.values()
            for title, key in _LINE.findall(page.response)
            if key.lower() == kind
        ]
        text = (
            f"{kind.capitalize()} lines resolved: {sum(ours):,} of {len(ours):,} ({np.mean(ours):.2%}); by exact title "
            f"{sum(exact):,} of {len(exact):,} ({np.mean(exact):.1%})."
        )
        yield Check(text, bool(np.mean(ours) >= least))
    aligned: dict[Key, list[int | None]] = {key: [] for key in run.pages}
    for page, line in lines:
        if line.kind == "align":
            aligned[page.user, page.page].append(line.item)
    right = sum(items == list(range(len(run.pages[key].shown))) for key, items in aligned.items())
    yield Check(
        f"Pages whose align lines are resolved to its items in order: {right:,} of {len(run.pages):,}.",
        right >= 0.994 * len(run.pages),
    )


def page_lines(run: Run, labels: Mapping[Key, Sequence[str]]) -> list[PageLine]:
    """All align and rating lines of a run, resolved by our parser within the labels of their page."""
    return [(page, line) for key, page in run.pages.items() for line in answer_lines(page.response, labels[key])]


def unread(lines: Sequence[PageLine], answers: Mapping[Key, PageAnswerText | None]) -> Iterator[str]:
    """Unreadable pages, and all unresolved lines."""
    empty = [f"user {user}, page {page + 1}" for (user, page), answer in answers.items() if answer is None]
    yield f"Pages of which nothing can be read: {len(empty)}."
    yield from (f"  nothing read: {place}" for place in empty)
    yield from (f"  not resolved: user {p.user}, page {p.page + 1}: {line}" for p, line in lines if line.item is None)


def slots(run: Run, seen: Mapping[Key, SeenPage]) -> Iterator[str]:
    """First-slot bias: how often each slot is watched, and how often it is in the validation split."""
    watched = np.array([seen[key].watched for key in run.pages]).mean(axis=0)
    hits = np.array([page.hits for page in run.pages.values()]).mean(axis=0)
    yield "Slot        " + "".join(f"{slot + 1:>7}" for slot in range(len(watched)))
    yield "  watched   " + "".join(f"{share:7.2f}" for share in watched)
    yield "  validation" + "".join(f"{share:7.2f}" for share in hits)


def ratings(seen: Mapping[Key, SeenPage], answers: Mapping[Key, PageAnswerText | None]) -> Iterator[str]:
    """Shares of the rating levels, of watched items whose rating is recorded."""
    told = [_told(answers[key], len(page.items)) for key, page in seen.items()]
    stars, recorded = np.array([page.stars for page in seen.values()]), np.array(told)
    given, drawn = stars[(stars > 0) & recorded], int(((stars > 0) & ~recorded).sum())
    shares = ", ".join(f"{level:g}: {np.mean(given == level):.1%}" for level in LEVELS)
    yield f"Recorded ratings of {len(given):,} watched items, share by stars: {shares}; {drawn} more had to be drawn."


def _told(answer: PageAnswerText | None, size: int) -> list[bool]:
    return [item.rating is not None for item in answer.items] if answer else [False] * size


def hazards(seen: Mapping[Key, SeenPage], activity: Ints, max_pages: int) -> Iterator[str]:
    """Hazard of leaving by choice after each page, by activity."""
    rows = exits(seen, activity, max_pages)
    yield "Exit hazard by page" + "".join(f"{page + 1:>7}" for page in range(max_pages)) + "   mean exit page"
    for level in (1, 2, 3):
        mine = rows.activity == level
        there = [mine & (rows.page == page) for page in range(max_pages)]
        shares = "".join(f"{np.mean(rows.left[at]):7.2f}" if at.any() else "      -" for at in there)
        people = max(int(there[0].sum()), 1)
        yield f"  activity {level}       {shares}   {mine.sum() / people:.2f} ({people} agents)"


def exits(seen: Mapping[Key, SeenPage], activity: Ints, max_pages: int) -> Exits:
    """Every page with the running satisfaction that our users would have."""
    keys = sorted(seen)
    satisfaction, running = [], 0.0
    for user, number in keys:
        running = 0.5 * (running if number else 0.5) + 0.5 * _pleased(seen[user, number])
        satisfaction.append(running)
    users, pages = (np.array(column, dtype=np.int64) for column in zip(*keys, strict=True))
    left = np.array([seen[key].left for key in keys])
    return Exits(pages, np.array(satisfaction), activity[users], left, pages == max_pages - 1)


def _pleased(page: SeenPage) -> float:
    stars: Floats = np.array([page.stars])
    return float(page_satisfaction(Responses(stars > 0, stars), np.array(LEVELS))[0])
