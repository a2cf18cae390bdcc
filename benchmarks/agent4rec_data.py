"""Reads Agent4Rec's released data and raw run logs; the formats are in `benchmarks.replay_agent4rec`."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.data import Catalogue, Dataset, Ratings
from recsim_llm.data.dataset import Person
from recsim_llm.data.titles import split_title
from recsim_llm.types import Floats32, Ints, Item

LEVELS = (1.0, 2.0, 3.0, 4.0, 5.0)
LAYERS = 2  # of the released LightGCN


@dataclass(frozen=True, slots=True)
class RecordedPage:
    """One page of a published run.

    Attributes:
        user, page: User id, and number of the page in the session, from 0.
        shown: Item ids, in order.
        titles: Titles as the model read them.
        hits: Per item, whether it is in the user's validation split.
        response: The model's text about the page.
        left: Whether the model decided to exit.
    """

    user: int
    page: int
    shown: tuple[int, ...]
    titles: tuple[str, ...]
    hits: tuple[bool, ...]
    response: str
    left: bool


@dataclass(frozen=True, slots=True)
class Run:
    """A published run.

    Attributes:
        name: Name of its folder.
        pages: Pages by (user, page).
        watch_ids: The ids stored as watched, by (user, page).
        metrics: The stored figures, by their stored names.
    """

    name: str
    pages: dict[tuple[int, int], RecordedPage]
    watch_ids: dict[tuple[int, int], list[int]]
    metrics: dict[str, float]

    @property
    def users(self) -> Ints:
        """(U,) ids of the users in the run, ascending."""
        return np.array(sorted({user for user, _ in self.pages}), dtype=np.int64)


def load_run(folder: Path, name: str) -> Run:
    """Read FOLDER/runs/NAME."""
    place = folder / "runs" / name
    with gzip.open(place / "raw_llm_io.jsonl.gz", "rt", encoding="utf-8") as file:
        pages = [_page(json.loads(line)) for line in file]
    stored = [json.loads(line) for line in (place / "behavior.jsonl").read_text("utf-8").splitlines()]
    watched = {(row["user"], row["page"] - 1): row["watch_id"] for row in stored if row["page"] != "interview"}
    return Run(name, {(page.user, page.page): page for page in pages}, watched, _metrics(place / "metrics.txt"))


def load_dataset(folder: Path, num_users: int) -> Dataset:
    """The catalogue and the train and test items, which published recommenders exclude. Stars are not released: 5."""
    with (folder / "movie_detail.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["movie_id"]))
    items = tuple(_item(i, row) for i, row in enumerate(rows))
    catalogue = Catalogue(items, tuple(row["movie_id"] for row in rows))
    pairs = np.concatenate([interactions(folder, part) for part in ("train", "test")])
    pairs = np.unique(pairs[pairs[:, 0] < num_users], axis=0)
    stars = np.full(len(pairs), LEVELS[-1], dtype=np.float32)
    log = Ratings(pairs[:, 0], pairs[:, 1], stars, np.zeros(len(pairs), dtype=np.int64), num_users, len(items))
    people = tuple(Person(user, str(user)) for user in range(num_users))
    return Dataset("agent4rec", catalogue, log, people, LEVELS, "", "see the data's owner")


def interactions(folder: Path, part: str) -> NDArray[np.int64]:
    """(M, 2) users and items of FOLDER/cf_data/PART.txt."""
    lines = (folder / "cf_data" / f"{part}.txt").read_text("utf-8").splitlines()
    rows = [[int(number) for number in line.split()] for line in lines if line.strip()]
    return np.array([(row[0], item) for row in rows for item in row[1:]], dtype=np.int64)


def lightgcn_vectors(folder: Path) -> tuple[Floats32, Floats32]:
    """LightGCN's final vectors: the mean of the released ones and of their 2 propagations over the training graph.

    Formula: He et al., SIGIR 2020, eq. 3 and 4, symmetric normalisation, equal layer weights; float32 as published.
    """
    with np.load(folder / "LightGCN_embeddings.npz") as archive:
        users, items = archive["user"], archive["item"]
    pairs = interactions(folder, "train")
    ones = np.ones(len(pairs), dtype=np.float64)
    rated = sp.csr_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(len(users), len(items)))
    by_user, by_item = (1 / np.sqrt(np.maximum(rated.sum(axis=axis), 1)) for axis in (1, 0))
    norm = sp.csr_array(sp.diags_array(by_user) @ rated @ sp.diags_array(by_item)).astype(np.float32)
    layers = [(users, items)]
    for _ in range(LAYERS):
        layers.append((norm @ layers[-1][1], norm.T @ layers[-1][0]))
    user, item = (np.stack([layer[side] for layer in layers]).mean(axis=0) for side in (0, 1))
    return user.astype(np.float32), item.astype(np.float32)


def activity_levels(folder: Path) -> Ints:
    """(U,) activity 1..3 of each user."""
    with (folder / "user_statistic.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["user_id"]))
    return np.array([int(row["activity"]) for row in rows], dtype=np.int64)


def _item(number: int, row: dict[str, str]) -> Item:
    title, year = split_title(row["title"])
    return Item(number, title, year, tuple(row["genres"].split("|")), row["summary"])


def _page(row: dict[str, Any]) -> RecordedPage:
    shown = row["shown"]
    return RecordedPage(
        row["user"],
        row["page"] - 1,
        tuple(item["id"] for item in shown),
        tuple(item["title"] for item in shown),
        tuple(item["validation_hit"] for item in shown),
        row["response"],
        # The published rule: a text without this token continues, even one with neither token.
        "[EXIT]" in row["decision"],
    )


def _metrics(path: Path) -> dict[str, float]:
    pairs = (line.partition(": ")[::2] for line in path.read_text("utf-8").splitlines())
    return {name: float(value) for name, value in pairs if value.strip().replace(".", "", 1).isdigit()}
