"""An immutable social graph over user ids, with typed and weighted edges; `with_edge` returns a new graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.types import EMPTY, Floats, Ints

if TYPE_CHECKING:
    import networkx as nx

_Array = TypeVar("_Array", Ints, Floats)

MAX_RELATION = 64
"""Longest name of a relation, in characters: it is read by models."""


class Edge(NamedTuple):
    """One acquaintance.

    Attributes:
        user_1, user_2: User ids.
        relation: What user_1 is to user_2: "friend", "mother".
        closeness: How close they are, in (0, 1].
        inverse: What user_2 is to user_1; "" in a directed graph, where that is another edge.
    """

    user_1: int
    user_2: int
    relation: str
    closeness: float
    inverse: str = ""


class GraphSummary(NamedTuple):
    """A graph in numbers.

    Attributes:
        nodes: U.
        edges: Pairs of acquaintances; of a directed graph, arcs.
        mean_degree: Mean number of neighbours (of a directed graph, of those that a user's arcs lead to).
        components: Groups with no edge between them (of a directed graph, weakly connected ones).
        density: Share of the possible edges that exist: 2m / n(n-1) undirected, m / n(n-1) directed. RecAgent's code
            doubles its directed links, and so reports twice this.
    """

    nodes: int
    edges: int
    mean_degree: float
    components: int
    density: float


def import_networkx(feature: str) -> ModuleType:
    """The package networkx.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import networkx
    except ImportError as error:
        raise MissingExtraError("networkx", "social", feature) from error
    return networkx


def relation_fault(relation: str) -> str:
    """What is wrong with the name of a relation, "" for nothing."""
    if not relation or relation != relation.strip():
        return "is empty, or begins or ends with a space"
    if len(relation) > MAX_RELATION or not relation.isprintable():
        return f"is longer than {MAX_RELATION} characters, or no single line of text"
    return ""


def closeness_fault(closeness: float) -> str:
    """What is wrong with a closeness, "" for nothing."""
    return "" if 0.0 < closeness <= 1.0 else "is not in (0, 1]"  # a NaN fails both comparisons


@dataclass(frozen=True)
class SocialGraph:
    """An immutable social graph of U users.

    Attributes:
        graph: Nodes are the user ids 0..U-1; each edge has `closeness` in (0, 1] and `relation`, what its first user
            is to its second. An undirected edge has `inverse` as well, and its first user is the one of lower id.
            The graph is frozen by the constructor: modify a copy of it.

    Raises:
        ConfigError: Nodes are not 0..U-1, an edge joins a user to itself, or one of its attributes is out of range.
    """

    graph: nx.Graph[int]

    def __post_init__(self) -> None:
        nx = import_networkx("A social graph")
        if sorted(self.graph.nodes) != list(range(len(self.graph))) or self.graph.is_multigraph():
            raise ConfigError("A social graph has the nodes 0..U-1, without gaps, and one edge a pair. Relabel it.")
        for edge in self.edges():
            _check(edge, self.directed)
        nx.freeze(self.graph)

    @classmethod
    def from_edges(cls, num_users: int, edges: Iterable[Edge], *, directed: bool = False) -> SocialGraph:
        """A graph of U users with these edges; of two edges of one pair, the later counts.

        Raises:
            ConfigError: A user is not in 0..U-1, an edge is a loop, or a relation or closeness is out of range.
        """
        nx = import_networkx("A social graph")
        graph = nx.DiGraph() if directed else nx.Graph()
        graph.add_nodes_from(range(num_users))
        for edge in edges:
            _check_users(edge, num_users)
            graph.add_edge(*edge[:2], **_attributes(edge, directed))
        return cls(graph)

    def among(self, users: Ints, num_users: int) -> SocialGraph:
        """This graph with other ids: node i becomes user `users[i]` of `num_users`; all others have no acquaintances.

        Raises:
            ConfigError: A user is not in 0..num_users-1.
        """
        ids = users.tolist()
        edges = (edge._replace(user_1=ids[edge.user_1], user_2=ids[edge.user_2]) for edge in self.edges())
        return SocialGraph.from_edges(num_users, edges, directed=self.directed)

    @property
    def directed(self) -> bool:
        """Whether an edge leads from user_1 to user_2 only."""
        return bool(self.graph.is_directed())

    @property
    def num_users(self) -> int:
        """U."""
        return len(self.graph)

    def edges(self) -> Iterator[Edge]:
        """All edges, by user_1, then user_2; of an undirected graph, each once, with user_1 < user_2."""
        for a in range(len(self.graph)):
            for b in sorted(self.graph.adj[a]):
                if self.directed or a <= b:
                    data = self.graph.adj[a][b]
                    yield Edge(a, b, data.get("relation", ""), data.get("closeness", 0.0), data.get("inverse", ""))

    def neighbours(self, user: int) -> Ints:
        """Ids of a user's acquaintances, ascending (in a directed graph, of those that edges lead to)."""
        return self._neighbours[self._row(user)]

    def closeness(self, user: int) -> Floats:
        """Closeness to each of `neighbours(user)`, in (0, 1]."""
        return self._closeness[self._row(user)]

    def relation(self, user: int, other: int) -> str:
        """What `user` is to `other`: "mother" where `other` is the child; "" where they are not acquainted."""
        data = self.graph.adj[user].get(other)
        if data is None:
            return ""
        return str(data["inverse"] if user > other and not self.directed else data["relation"])

    @property
    def degrees(self) -> Ints:
        """(U,) number of neighbours of each user."""
        return np.diff(self._starts)

    def pick(self, users: Ints, uniforms: Floats) -> Ints:
        """One acquaintance of each of (B,) users, with probability proportional to closeness.

        Args:
            users: (B,) user ids; one may occur several times.
            uniforms: (B,) random numbers in [0, 1), from `recsim_llm.seeding.uniforms`. Nothing else is random.

        Returns:
            (B,) user ids, EMPTY for users without acquaintances.

        Raises:
            ConfigError: A user id or random number is out of range.
        """
        users, uniforms = np.asarray(users, dtype=np.int64), np.asarray(uniforms, dtype=np.float64)
        if np.any((users < 0) | (users >= self.num_users)) or not np.all((uniforms >= 0) & (uniforms < 1)):
            raise ConfigError(f"pick takes user ids 0..{self.num_users - 1} and random numbers in [0, 1).")
        first, last = self._starts[users], self._starts[users + 1] - 1
        # Bounded, because user + uniform may be rounded up to user + 1, where the next user's row begins.
        found = np.clip(np.searchsorted(self._shares, users + uniforms, side="right"), first, np.maximum(first, last))
        lonely = last < first
        if lonely.all():
            return np.full(len(users), EMPTY, dtype=np.int64)
        return np.where(lonely, EMPTY, self._neighbours[np.where(lonely, 0, found)])

    def with_edge(self, user_1: int, user_2: int, relation: str, closeness: float) -> SocialGraph:
        """A copy of this graph with this edge added, or replacing the edge between the two.

        In an undirected graph the relation holds both ways.

        Raises:
            ConfigError: A user is not in 0..U-1 or both are the same, or the relation or closeness is out of range.
        """
        edge = Edge(user_1, user_2, relation, closeness)
        if not (min(user_1, user_2) >= 0 and max(user_1, user_2) < self.num_users):
            raise ConfigError(f"No edge {user_1}-{user_2}: users are 0..{self.num_users - 1}.")
        changed = self.graph.copy()
        changed.add_edge(user_1, user_2, **_attributes(edge, self.directed))
        return SocialGraph(changed)

    def without_edge(self, user_1: int, user_2: int) -> SocialGraph:
        """A copy of this graph without the edge between the two (in a directed graph, the one from user_1 to user_2).

        Raises:
            ConfigError: There is no such edge.
        """
        if not self.graph.has_edge(user_1, user_2):
            raise ConfigError(f"There is no edge from user {user_1} to user {user_2} that could be removed.")
        changed = self.graph.copy()
        changed.remove_edge(user_1, user_2)
        return SocialGraph(changed)

    def summary(self) -> GraphSummary:
        """The graph in numbers."""
        nx = import_networkx("A social graph")
        nodes, edges = self.num_users, self.graph.number_of_edges()
        parts = nx.weakly_connected_components(self.graph) if self.directed else nx.connected_components(self.graph)
        mean_degree = len(self._neighbours) / nodes if nodes else 0.0
        density = mean_degree / (nodes - 1) if nodes > 1 else 0.0
        return GraphSummary(nodes, edges, mean_degree, sum(1 for _ in parts), density)

    def _row(self, user: int) -> slice:
        if not 0 <= user < self.num_users:
            raise ConfigError(f"There is no user {user}: users are 0..{self.num_users - 1}.")
        return slice(int(self._starts[user]), int(self._starts[user + 1]))

    @cached_property
    def _starts(self) -> Ints:
        """(U+1,) where each user's neighbours begin in `_neighbours`."""
        degrees = [len(self.graph.adj[user]) for user in range(self.num_users)]
        return _read_only(np.concatenate([[0], np.cumsum(degrees, dtype=np.int64)]).astype(np.int64))

    @cached_property
    def _neighbours(self) -> Ints:
        found = (other for user in range(self.num_users) for other in sorted(self.graph.adj[user]))
        return _read_only(np.fromiter(found, dtype=np.int64, count=int(self._starts[-1])))

    @cached_property
    def _closeness(self) -> Floats:
        owners = np.repeat(np.arange(self.num_users), self.degrees).tolist()
        pairs = zip(owners, self._neighbours.tolist(), strict=True)
        found = (self.graph.adj[user][other]["closeness"] for user, other in pairs)
        return _read_only(np.fromiter(found, dtype=np.float64, count=len(owners)))

    @cached_property
    def _shares(self) -> Floats:
        """Ascending: user id plus the cumulative share of closeness within the user's neighbours.

        Each row depends on one user alone, so that an edge elsewhere cannot change what this user picks.
        """
        rows = [np.cumsum(self.closeness(user)) for user in range(self.num_users)]
        shares = [user + row / row[-1] if len(row) else row for user, row in enumerate(rows)]
        return _read_only(np.concatenate(shares) if shares else np.zeros(0))


def _read_only(array: _Array) -> _Array:
    array.setflags(write=False)
    return array


def _attributes(edge: Edge, directed: bool) -> dict[str, Any]:
    if directed:
        return {"relation": edge.relation, "closeness": float(edge.closeness)}
    relations = edge.relation, edge.inverse or edge.relation
    low, high = relations if edge.user_1 < edge.user_2 else relations[::-1]
    return {"relation": low, "inverse": high, "closeness": float(edge.closeness)}


def _check_users(edge: Edge, num_users: int) -> None:
    if not (min(edge[:2]) >= 0 and max(edge[:2]) < num_users):
        raise ConfigError(f"No edge {edge.user_1}-{edge.user_2}: users are 0..{num_users - 1}.")


def _check(edge: Edge, directed: bool) -> None:
    pair = f"Edge {edge.user_1}-{edge.user_2}"
    if edge.user_1 == edge.user_2:
        raise ConfigError(f"{pair} joins a user to itself. Remove it.")
    for name, relation in (("relation", edge.relation), ("inverse", edge.inverse))[: 1 if directed else 2]:
        if fault := relation_fault(relation):
            raise ConfigError(f"{pair}: the {name} {relation!r} {fault}. Give a word such as 'friend'.")
    if fault := closeness_fault(edge.closeness):
        raise ConfigError(f"{pair}: the closeness {edge.closeness!r} {fault}. Give a share of 1, as 0.5.")
