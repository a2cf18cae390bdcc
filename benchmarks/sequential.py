"""`python -m benchmarks.sequential`: NDCG@10 and HR@10 of the recommenders on what people really rated next.

Leave-one-out: every person's last rating is the test, all before it is the log; users and items with fewer than 5
ratings are removed repeatedly until none remains. All items that the person has not rated are ranked. Intervals are
95 % bootstraps over people. Peers are libraries' own models, fitted on the same log and not tuned; some of our defaults
were chosen on each person's last but one rating (`--validate`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsim_llm.data import load_dataset
from recsim_llm.data.dataset import Catalogue, Dataset, Ratings
from recsim_llm.errors import MissingExtraError
from recsim_llm.policies import POLICIES
from recsim_llm.policies.classic.bm25 import BM25
from recsim_llm.policies.classic.bpr import BPR
from recsim_llm.policies.classic.lightgcn import LightGCN
from recsim_llm.policies.ranking import best_items
from recsim_llm.policies.sequential.gru4rec import GRU4Rec
from recsim_llm.policies.sequential.sasrec import SASRec
from recsim_llm.policies.sequential.sequences import logged_sequences, split_sequences
from recsim_llm.types import EMPTY, Floats, Ints, Observation

PAGE, HISTORY, CORE, RESAMPLES = 10, 200, 5, 2000
OURS: dict[str, type[Any]] = {
    **{name: POLICIES[name] for name in ("popularity", "item-knn", "ease", "als")},
    **{policy.name: policy for policy in (BPR, BM25, SASRec, LightGCN, GRU4Rec)},
}
PEERS = ("cornac EASE", "cornac BPR", "implicit BPR", "cornac SASRec")
PAIRS = (("ease", "cornac EASE"), ("bpr", "implicit BPR"), ("bpr", "cornac BPR"), ("sasrec", "cornac SASRec"))


@dataclass(frozen=True, slots=True)
class Task:
    """A next-item prediction task.

    Attributes:
        catalogue: The remaining items.
        log: Known ratings; times are positions in a person's order.
        target: (U,) the next item of each person.
    """

    catalogue: Catalogue
    log: Ratings
    target: Ints


def make_task(dataset: Dataset, behind: int) -> Task:
    """The last rating of each person but `behind` is the target."""
    ratings, catalogue = _core(dataset)
    sequences = split_sequences(logged_sequences(ratings))
    kept = [sequence[: len(sequence) - 1 - behind] for sequence in sequences]
    target = np.array([sequence[len(sequence) - 1 - behind] for sequence in sequences], dtype=np.int64)
    users = np.repeat(np.arange(len(kept)), [len(s) for s in kept])
    times = np.concatenate([np.arange(1, len(s) + 1) for s in kept])
    stars = np.full(len(users), 5, dtype=np.float32)
    log = Ratings(users, np.concatenate(kept), stars, times, len(kept), len(catalogue))
    return Task(catalogue, log, target)


def _core(dataset: Dataset) -> tuple[Ratings, Catalogue]:
    log = dataset.ratings
    while True:
        many = [np.bincount(ids, minlength=size) >= CORE for ids, size in _sides(log)]
        rows = many[0][log.users] & many[1][log.items]
        if rows.all():
            break
        log = log.take(rows)
    users, items = (np.unique(ids, return_inverse=True) for ids in (log.users, log.items))
    old = dataset.catalogue
    catalogue = Catalogue(
        tuple(replace(old[i], id=new) for new, i in enumerate(items[0].tolist())),
        tuple(old.raw_ids[i] for i in items[0].tolist()),
    )
    return Ratings(users[1], items[1], log.values, log.times, len(users[0]), len(items[0])), catalogue


def _sides(log: Ratings) -> tuple[tuple[Ints, int], tuple[Ints, int]]:
    return (log.users, log.num_users), (log.items, log.num_items)


def observation(task: Task) -> Observation:
    """Everybody, with the latest of their log as the history, as an environment gives it."""
    count = len(task.target)
    items = np.full((count, HISTORY), EMPTY, dtype=np.int64)
    for user, sequence in enumerate(split_sequences(logged_sequences(task.log))):
        latest = sequence[-HISTORY:]
        items[user, HISTORY - len(latest) :] = latest
    real = items != EMPTY
    return {
        "user": np.arange(count)[:, None],
        "page": np.zeros((count, 1), dtype=np.int64),
        "history_items": items,
        "history_ratings": np.where(real, 5, 0).astype(np.float32),
        "history_mask": real.astype(np.int8),
    }


def gains(pages: Ints, target: Ints) -> tuple[Floats, Floats]:
    """(U,) NDCG@10 and (U,) HR@10 of each person: 1/log2(2 + the target's position), and whether it is on the page."""
    right = pages == target[:, None]
    hit = right.any(axis=1)
    return np.where(hit, 1 / np.log2(2 + right.argmax(axis=1)), 0.0), hit.astype(np.float64)


def interval(values: Floats, seed: int = 0) -> str:
    """Mean and 95 % bootstrap interval."""
    rng = np.random.default_rng(seed)
    means = np.array([values[rng.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)])
    low, high = np.quantile(means, [0.025, 0.975])
    return (
        f"{values.mean():+.4f} [{low:+.4f}, {high:+.4f}]"
        if values.min() < 0
        else (f"{values.mean():.4f} [{low:.4f}, {high:.4f}]")
    )


def peer_pages(name: str, task: Task, epochs: int) -> Ints:
    """The pages of a library's own model."""
    scores = {
        "cornac EASE": lambda: _cornac_rating(task, "EASE", posB=False, verbose=False),
        "cornac BPR": lambda: _cornac_rating(task, "BPR", k=64, max_iter=100, learning_rate=0.01, seed=1),
        "implicit BPR": lambda: _implicit_bpr(task),
        "cornac SASRec": lambda: _cornac_sasrec(task, epochs),
    }[name]()
    known = task.log.matrix().toarray() > 0
    return best_items(scores, known, PAGE)


def _cornac_rating(task: Task, model: str, **options: Any) -> NDArray[Any]:
    cornac = _cornac()
    log = task.log
    rows = list(zip(log.users.tolist(), log.items.tolist(), [1.0] * len(log), strict=True))
    data = cornac.data.Dataset.from_uir(rows)
    fitted = getattr(cornac.models, model)(**options).fit(data)
    scores = np.full((log.num_users, log.num_items), -1e9)
    columns = np.array([data.iid_map.get(i, -1) for i in range(log.num_items)])
    there = columns >= 0
    for user in range(log.num_users):
        scores[user, there] = np.asarray(fitted.score(data.uid_map[user])).ravel()[columns[there]]
    return scores


def _cornac_sasrec(task: Task, epochs: int) -> NDArray[Any]:
    cornac = _cornac()
    sequences = split_sequences(logged_sequences(task.log))
    rows = [(user, item, place) for user, s in enumerate(sequences) for place, item in enumerate(s.tolist())]
    data = cornac.data.SequentialDataset.build(rows, fmt="SIT")
    model = cornac.models.SASRec(embedding_dim=64, max_len=50, num_blocks=2, dropout=0.2, n_epochs=epochs, seed=1)
    model.fit(data)
    scores = np.full((task.log.num_users, task.log.num_items), -1e9)
    there = np.array([i in data.iid_map for i in range(task.log.num_items)])
    columns = np.array([data.iid_map[i] for i in np.flatnonzero(there).tolist()])
    for user, sequence in enumerate(sequences):
        history = [data.iid_map[i] for i in sequence.tolist()]
        scores[user, there] = np.asarray(model.score(None, history)).ravel()[columns]
    return scores


def _implicit_bpr(task: Task) -> NDArray[Any]:
    """Uses trained user vectors, whereas our policy takes the mean of their items' vectors."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking
    from scipy.sparse import csr_matrix

    rows = (np.ones(len(task.log), dtype=np.float32), (task.log.users.astype("i4"), task.log.items.astype("i4")))
    model = BayesianPersonalizedRanking(factors=64, iterations=100, num_threads=1, random_state=1)
    model.fit(csr_matrix(rows, shape=(task.log.num_users, task.log.num_items)), show_progress=False)
    scores: NDArray[Any] = model.user_factors @ model.item_factors.T
    return scores


def _cornac() -> Any:
    try:
        import cornac
    except ImportError as error:
        raise MissingExtraError("cornac", "cornac", "Comparing with Cornac") from error
    return cornac


def run(task: Task, names: Sequence[str], seed: int, epochs: int) -> Iterator[tuple[str, Floats, Floats, float]]:
    """Name, NDCG@10 and HR@10 by person, seconds to fit and rank."""
    seen = observation(task)
    for name in names:
        start = time.perf_counter()
        if name in OURS:
            pages = OURS[name].fit(task.log, task.catalogue, PAGE, seed).act(seen)
        else:
            pages = peer_pages(name, task, epochs)
        yield name, *gains(pages, task.target), time.perf_counter() - start


def main() -> None:
    """Print the table, row by row, and the paired differences from peers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sequential", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"default: all of {', '.join([*OURS, *PEERS])}")
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validate", action="store_true", help="predict the last but one rating")
    parser.add_argument("--peer-epochs", type=int, default=10, help="of Cornac's SASRec (each of its epochs is long)")
    options = parser.parse_args()
    task = make_task(load_dataset(options.dataset), 1 if options.validate else 0)
    print(f"{options.dataset}: {task.log.num_users:,} users, {task.log.num_items:,} items, {len(task.log):,} ratings")
    print(f"{'model':15} {'NDCG@10':26} {'HR@10':26} seconds", flush=True)
    found = {}
    for name, ndcg, hit, seconds in run(task, options.names or [*OURS, *PEERS], options.seed, options.peer_epochs):
        found[name] = ndcg
        print(f"{name:15} {interval(ndcg):26} {interval(hit):26} {seconds:7.1f}", flush=True)
    for ours, peer in PAIRS:
        if ours in found and peer in found:
            print(f"NDCG@10 of {ours} minus {peer}: {interval(found[ours] - found[peer])}")


if __name__ == "__main__":
    main()
