"""Reruns Agent4Rec's published 1,000-agent experiment without a model: recorded gpt-3.5 texts in *our* environment.

    python -m benchmarks.replay_agent4rec FOLDER [--run LightGCN_1000x5x4] [--fit-exits]

Ours are the environment (`PageVectorEnv`), the policy of given vectors (`policies.classic.embeddings`) and the parser
(`page_answers`); the record replaces the model. It exits with 1 unless pages, stored ids and the stored
figures (Zhang et al., SIGIR 2024, released run) come out as published, and the parser resolves at least 99.4 % of align
and 99.5 % of rating lines, to the right items. FOLDER (or RECSIM_LLM_AGENT4REC) holds:

    movie_detail.csv         movie_id 0..N-1, title, genres ("|"), rating, summary
    user_statistic.csv       user_id 0..U-1, activity 1..3
    cf_data/{train,valid,test}.txt   one line per user: user id, then item ids
    LightGCN_embeddings.npz  user (U, D) and item (N, D), float32, before propagation
    runs/RUN/raw_llm_io.jsonl.gz     one object a page: user, page (from 1), shown [{id, title, validation_hit}],
                             response, decision
    runs/RUN/behavior.jsonl  one object a page: user, page, watch_id (and one with page "interview" an agent)
    runs/RUN/metrics.txt     lines "name: value"

These are the released files, pickles converted to JSON and NPZ. Of other models than LightGCN no vectors are released:
their recorded pages are served instead, checked only for items that must not be shown, and the rest is as above.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import cast

import numpy as np

from benchmarks import agent4rec_figures as figures
from benchmarks.agent4rec_data import (
    LEVELS,
    Run,
    activity_levels,
    lightgcn_vectors,
    load_dataset,
    load_run,
)
from benchmarks.agent4rec_exits import describe
from recsim_llm.agents.llm.pages.page_answers import PageAnswerText, parse_page_answer
from recsim_llm.agents.user_model import Description
from recsim_llm.data import Catalogue, Dataset
from recsim_llm.data.formats.folder import save_folder
from recsim_llm.environments.sessions import Outcome
from recsim_llm.environments.vector import PageVectorEnv
from recsim_llm.policies.classic.embeddings import EmbeddingPolicy
from recsim_llm.types import Floats, Ints, Keys, Observation, Reaction, Responses

VARIABLE = "RECSIM_LLM_AGENT4REC"
PAGE_SIZE, MAX_PAGES = 4, 5


class RecordedAgents:
    """A user model (`agents.user_model.UserModel`) that answers from the record, through our parser.

    Args:
        run: The record.
        catalogue: Whose labels the texts are resolved to: ours, not the titles of the record.
        num_users: U.
    """

    def __init__(self, run: Run, catalogue: Catalogue, num_users: int) -> None:
        self.num_users, self.num_items, self.rating_levels = num_users, len(catalogue), np.array(LEVELS)
        self.run, self.catalogue = run, catalogue
        self.answers: dict[figures.Key, PageAnswerText | None] = {}
        self.labels: dict[figures.Key, list[str]] = {}
        self._users = np.zeros(num_users, dtype=np.int64)
        self._pages = np.zeros(num_users, dtype=np.int64)

    def reset(self, sessions: Ints, users: Ints, keys: Keys) -> None:
        """See `UserModel.reset`."""
        self._users[sessions], self._pages[sessions] = users, 0

    def react(self, sessions: Ints, pages: Ints) -> Reaction:
        """See `UserModel.react`: a recorded choice is certain; an item without a recorded rating could get any."""
        watch, rating = np.zeros(pages.shape), np.full((*pages.shape, len(LEVELS)), 1 / len(LEVELS))
        for row, key in enumerate(self._keys(sessions)):
            self.labels[key] = labels = [self.catalogue[item].label for item in pages[row].tolist()]
            self.answers[key] = answer = parse_page_answer(self.run.pages[key].response, labels, len(LEVELS))
            for slot, item in enumerate(answer.items if answer else ()):
                watch[row, slot] = float(item.watch)
                if item.rating is not None:
                    rating[row, slot] = np.arange(1, len(LEVELS) + 1) == item.rating
        return Reaction(watch, rating)

    def observe(self, sessions: Ints, pages: Ints, responses: Responses) -> Floats:
        """See `UserModel.observe`: the recorded decision."""
        left = np.array([float(self.run.pages[key].left) for key in self._keys(sessions)])
        self._pages[sessions] += 1
        return left

    def describe(self) -> Description:
        """See `UserModel.describe`."""
        return Description()

    def _keys(self, sessions: Ints) -> list[tuple[int, int]]:
        return list(zip(self._users[sessions].tolist(), self._pages[sessions].tolist(), strict=True))


class RecordedPages:
    """Serves the recorded pages, for recommenders whose vectors are not released."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def act(self, observation: Observation) -> Ints:
        """(B, K) recorded items; any K items for sessions that have ended."""
        keys = zip(observation["user"][:, 0].tolist(), observation["page"][:, 0].tolist(), strict=True)
        pages = [self.run.pages[key].shown if key in self.run.pages else range(PAGE_SIZE) for key in keys]
        return np.array([list(page) for page in pages], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Replay:
    """A replayed run.

    Attributes:
        run: The record.
        seen: Pages of our environment, by (user, page).
        answers: Texts as parsed by our parser.
        labels: Labels of each page's items, as given to the parser.
        known: Per user, the items that a policy must not show.
        ours: Whether our policy ranked; otherwise the recorded pages were served.
    """

    run: Run
    seen: dict[figures.Key, figures.SeenPage]
    answers: dict[figures.Key, PageAnswerText | None]
    labels: dict[figures.Key, list[str]]
    known: dict[int, set[int]]
    ours: bool

    def checks(self) -> Iterator[figures.Check]:
        """All comparisons with the published values."""
        if self.ours:
            yield from figures.check_pages(self.run, self.seen)
        else:
            yield from figures.check_served(self.run, self.seen, self.known)
        yield from figures.check_stored(self.run, MAX_PAGES)


def replay(folder: Path, name: str) -> Replay:
    """Replay a published run."""
    run = load_run(folder, name)
    dataset = load_dataset(folder, len(run.users))
    users = RecordedAgents(run, dataset.catalogue, len(run.users))
    policy = _policy(folder, run, dataset)
    with tempfile.TemporaryDirectory() as place:
        save_folder(dataset, Path(place) / "agent4rec")
        env = PageVectorEnv(
            len(run.users),
            str(Path(place) / "agent4rec"),
            users,
            page_size=PAGE_SIZE,
            max_pages=MAX_PAGES,
            autoreset_mode="disabled",
        )
        if env.population.dataset.catalogue.items != dataset.catalogue.items:
            raise SystemExit("The environment numbers items otherwise than the record.")
        seen = dict(_live(env, policy, run.users))
    log = dataset.ratings
    known = {user: set(log.items[log.users == user].tolist()) for user in run.users.tolist()}
    return Replay(run, seen, users.answers, users.labels, known, isinstance(policy, EmbeddingPolicy))


def _policy(folder: Path, run: Run, dataset: Dataset) -> EmbeddingPolicy | RecordedPages:
    if not run.name.startswith("LightGCN"):
        return RecordedPages(run)
    return EmbeddingPolicy.from_vectors(*lightgcn_vectors(folder), dataset.ratings, PAGE_SIZE)


def _live(
    env: PageVectorEnv, policy: EmbeddingPolicy | RecordedPages, users: Ints
) -> Iterator[tuple[tuple[int, int], figures.SeenPage]]:
    observation, _ = env.reset(seed=0, options={"user": users})
    while not env.sessions.ended.all():
        observation, *_ = env.step(policy.act(cast(Observation, observation)))
        yield from _pages_of(cast(Outcome, env.last))


def _pages_of(outcome: Outcome) -> Iterator[tuple[tuple[int, int], figures.SeenPage]]:
    watched, stars = outcome.responses.watched_BK, outcome.responses.ratings_BK
    for row, user in enumerate(outcome.users.tolist()):
        page = figures.SeenPage(
            tuple(outcome.pages[row].tolist()),
            tuple(watched[row].tolist()),
            tuple(stars[row].tolist()),
            bool(outcome.left[row]),
            bool(outcome.truncated[row]),
        )
        yield (user, int(outcome.page_numbers[row])), page


def report(folder: Path, name: str, with_exits: bool) -> tuple[list[str], list[str]]:
    """Lines to print, and deviations from the published values."""
    lived, activity = replay(folder, name), activity_levels(folder)
    run, seen = lived.run, lived.seen
    as_published = list(lived.checks())
    failed = [check.line for check in as_published if not check.passed]
    lines = [check.line for check in as_published]
    if seen.keys() != run.pages.keys():
        return lines, failed  # Figures of other sessions than the recorded ones would mislead.
    told = figures.page_lines(run, lived.labels)
    resolved = list(figures.check_resolution(run, told))
    lines += figures.corrected(run, seen, MAX_PAGES)
    lines += [check.line for check in resolved]
    lines += figures.unread(told, lived.answers)
    lines += figures.slots(run, seen)
    lines += figures.ratings(seen, lived.answers)
    lines += figures.hazards(seen, activity, MAX_PAGES)
    if with_exits:
        lines += describe(figures.exits(seen, activity, MAX_PAGES), MAX_PAGES)
    return lines, failed + [check.line for check in resolved if not check.passed]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return 0 if everything is as published."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay_agent4rec", description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", default=os.environ.get(VARIABLE), help=f"the data (default: ${VARIABLE})")
    parser.add_argument("--run", default="LightGCN_1000x5x4", help="a folder in FOLDER/runs")
    parser.add_argument("--fit-exits", action="store_true", help="fit the hazard of leaving to the run's exits")
    options = parser.parse_args(arguments)
    if options.folder is None:
        parser.error(f"name the data's folder, or set {VARIABLE}")
    started = perf_counter()
    lines, failed = report(Path(options.folder), options.run, options.fit_exits)
    print("\n".join(lines))
    verdict = f"Not as published: {'; '.join(failed)}" if failed else "As published."
    print(f"{perf_counter() - started:.1f} s in all. {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
