"""Generators of social graphs: by taste, or by two classic random graphs. The same seed gives the same graph.

Rating data sets seldom record who knows whom, so everything here is declared, nothing fitted. Relations are drawn
from `RELATIONS`. No graph depends on the order in which the data set lists people, except through the seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from recsim_llm.agents.society.graph.graph import Edge, SocialGraph, import_networkx
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError
from recsim_llm.seeding import Stream, mix, uniforms
from recsim_llm.types import Floats, Ints

RELATIONS = {
    "friend": 5842,
    "family": 7614,
    "business contact": 3297,
    "acquaintance": 1685,
    "neighbour": 1664,
    "colleague": 744,
}
"""How often each relation is drawn, relative to the others: the directed links of RecAgent's thousand users, counted
in the file that it ships. Family joins its child, parent, father and mother; business contact, client and partner."""

STRENGTH = 3.0
"""Default of `homophily`: log-odds of an acquaintance per unit of cosine; declared."""

_RELATION, _CLOSENESS, _EDGE, _PLACE, _WIRES = range(5)  # what a draw is for, below Stream.GRAPH
_BINS = 8192
_BLOCK_CELLS = 1 << 21  # pairs in memory at once: 16 MB an array
_LEAST_CLOSENESS = 0.01  # for opposite tastes: closeness must be above 0


def genre_tastes(log: Ratings, catalogue: Catalogue) -> Floats:
    """(U, G) how much more of each genre a user rates than everybody does: genre shares minus the log's shares.

    Differences, because plain shares are similar for everybody: they follow what there is to watch. A user without
    ratings or genres has a row of zeros, with cosine 0 to everybody.
    """
    genres = catalogue.genre_matrix.astype(np.float64)
    counts = np.asarray(log.matrix().astype(bool).astype(np.float64) @ genres)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1.0)
    result: Floats = np.where(totals > 0, shares - counts.sum(axis=0) / max(float(counts.sum()), 1.0), 0.0)
    return result


def homophily(tastes: Floats, mean_degree: float, seed: int, strength: float = STRENGTH) -> SocialGraph:
    """A graph in which people of similar taste know each other.

    Every pair is an edge with probability sigmoid(a + strength * cosine of tastes), independently: the
    projection model of Hoff, Raftery and Handcock (Latent Space Approaches to Social Network Analysis, JASA 2002) with
    unit vectors. `a` is chosen so that the expected degree is `mean_degree`. Closeness is (1 + cosine) / 2, at least
    0.01.

    Cost: two passes over all pairs, block by block; memory does not grow with their number.

    Args:
        tastes: (U, G) one row per user, such as `genre_tastes`; only directions matter, a row of zeros has none.
        mean_degree: Expected number of acquaintances of a user, in [0, U-1].
        seed: Seed for all random draws.
        strength: Log-odds per unit of cosine, finite, >= 0; at 0, tastes have no effect.

    Raises:
        ConfigError: An argument is out of its range, or tastes are not finite.
        MissingExtraError: networkx is not installed.
    """
    tastes = np.asarray(tastes, dtype=np.float64)
    count = len(tastes)
    if tastes.ndim != 2 or not np.isfinite(tastes).all():
        raise ConfigError(f"Tastes of shape {tastes.shape} must be (U, G) finite numbers.")
    if not 0 <= mean_degree <= max(count - 1, 0) or not 0 <= strength < np.inf:
        raise ConfigError(
            f"No homophily graph of {count} users with mean_degree={mean_degree} and strength={strength}: "
            f"mean_degree is 0 to {max(count - 1, 0)}, strength 0 or more."
        )
    units = _unit_rows(tastes)
    bias = _bias(units, mean_degree * count / 2, strength)
    ones, twos, cosines = _linked(units, bias, strength, seed)
    return _with_relations(count, ones, twos, np.maximum((1 + cosines) / 2, _LEAST_CLOSENESS), seed)


def barabasi_albert(num_users: int, m: int, seed: int) -> SocialGraph:
    """A preferential-attachment graph: few people have many acquaintances (Barabási and Albert, Science 1999).

    Popularity is shuffled over users, so that ids carry no information. Closeness is uniform in (0, 1].

    Args:
        num_users: U, above m.
        m: Acquaintances that each newcomer begins with, >= 1; the mean degree is about 2m.
        seed: Seed for all random draws.

    Raises:
        ConfigError: An argument is out of its range.
        MissingExtraError: networkx is not installed.
    """
    if not 1 <= m < num_users:
        raise ConfigError(f"No Barabási-Albert graph of {num_users} users with m={m}: m is 1 to {num_users - 1}.")
    nx = import_networkx("A Barabási-Albert graph")
    return _shuffled(num_users, nx.barabasi_albert_graph(num_users, m, seed=_integer(seed, _WIRES)).edges, seed)


def watts_strogatz(num_users: int, k: int, p: float, seed: int) -> SocialGraph:
    """A small-world graph: a ring of neighbours with a few long-range edges (Watts and Strogatz, Nature 1998).

    Places on the ring are shuffled over users, so that ids carry no information. Closeness is uniform in (0, 1].

    Args:
        num_users: U, above k.
        k: Acquaintances of each user before rewiring, even, >= 2; the mean degree is exactly k.
        p: Probability that an edge is rewired, [0, 1].
        seed: Seed for all random draws.

    Raises:
        ConfigError: An argument is out of its range.
        MissingExtraError: networkx is not installed.
    """
    if not 2 <= k < num_users or k % 2 or not 0 <= p <= 1:
        raise ConfigError(
            f"No Watts-Strogatz graph of {num_users} users with k={k}, p={p}: k is even, 2 to {num_users - 1}, "
            "p is in [0, 1]."
        )
    nx = import_networkx("A Watts-Strogatz graph")
    return _shuffled(num_users, nx.watts_strogatz_graph(num_users, k, p, seed=_integer(seed, _WIRES)).edges, seed)


def _unit_rows(tastes: Floats) -> Floats:
    largest = np.abs(tastes).max(axis=1, keepdims=True, initial=0.0)
    scaled = tastes / np.where(largest > 0, largest, 1.0)  # first, so that squares neither overflow nor vanish
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    result: Floats = scaled / np.where(norms > 0, norms, 1.0)
    return result


def _blocks(units: Floats) -> Iterator[tuple[Ints, Ints, Floats]]:
    """Each pair of users once, blockwise: row ids (b,), column ids (c,), cosines (b, c); skip columns <= row."""
    count, start = len(units), 0
    while start < count:
        # About `_BLOCK_CELLS` pairs; columns begin at the first row, for the upper triangle.
        stop = min(count, start + max(1, _BLOCK_CELLS // (count - start)))
        cosines = np.clip(units[start:stop] @ units[start:].T, -1.0, 1.0)
        yield np.arange(start, stop), np.arange(start, count), cosines
        start = stop


def _bias(units: Floats, num_edges: float, strength: float) -> float:
    """The `a` that gives the wanted expected number of edges, by bisection over a histogram of cosines."""
    counts: Floats = np.zeros(_BINS)
    for rows, columns, cosines in _blocks(units):
        later = cosines[columns > rows[:, None]]
        bins = np.minimum(((later + 1) * (_BINS / 2)).astype(np.int64), _BINS - 1)
        counts += np.bincount(bins, minlength=_BINS)
    edges = np.linspace(-1.0, 1.0, _BINS + 1)
    centres: Floats = strength * (edges[:-1] + edges[1:]) / 2
    # Bisection, as the expected number of edges increases with `a`.
    low, high = -60.0 - strength, 60.0 + strength
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if counts @ _sigmoid(middle + centres) > num_edges else (middle, high)
    return low


def _linked(units: Floats, bias: float, strength: float, seed: int) -> tuple[Ints, Ints, Floats]:
    """Drawn edges: lower ids, higher ids, cosines. A pair's draw depends only on the seed and its ids."""
    found = []
    for rows, columns, cosines in _blocks(units):
        draws = uniforms(seed, Stream.GRAPH, _EDGE, rows[:, None], columns)
        linked = (draws < _sigmoid(bias + strength * cosines)) & (columns > rows[:, None])
        row, column = np.nonzero(linked)
        found.append((rows[row], columns[column], cosines[linked]))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    ones, twos, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return ones, twos, values


def _shuffled(num_users: int, pairs: Iterable[tuple[int, int]], seed: int) -> SocialGraph:
    """Assign the nodes of a generated graph to users at random, with uniform closeness."""
    # (U,) the user at each node: a permutation by hash.
    user_at = np.argsort(mix(seed, Stream.GRAPH, _PLACE, np.arange(num_users)), kind="stable")
    ends = np.sort(user_at[np.array(list(pairs), dtype=np.int64).reshape(-1, 2)], axis=1)
    ones, twos = ends[np.lexsort((ends[:, 1], ends[:, 0]))].T
    closeness = 1.0 - uniforms(seed, Stream.GRAPH, _CLOSENESS, ones, twos)  # in (0, 1]
    return _with_relations(num_users, ones, twos, closeness, seed)


def _with_relations(num_users: int, ones: Ints, twos: Ints, closeness: Floats, seed: int) -> SocialGraph:
    names = list(RELATIONS)
    ends = np.cumsum(list(RELATIONS.values())) / sum(RELATIONS.values())
    drawn = np.searchsorted(ends, uniforms(seed, Stream.GRAPH, _RELATION, ones, twos), side="right")
    rows = zip(ones.tolist(), twos.tolist(), drawn.tolist(), closeness.tolist(), strict=True)
    return SocialGraph.from_edges(num_users, (Edge(a, b, names[r], c) for a, b, r, c in rows))


def _integer(seed: int, purpose: int) -> int:
    """A seed for networkx, different from that of other draws."""
    return int(mix(seed, Stream.GRAPH, purpose))


def _sigmoid(logit: Floats) -> Floats:
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * logit))  # does not overflow
    return result
