"""Data of a whole society: degrees, a drawing of the graph, and the diffusion of an item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recsim_llm.dashboard.view import RunView
from recsim_llm.errors import MissingExtraError

if TYPE_CHECKING:
    import pandas as pd

DRAWN = 300
"""Most people in the drawing: more are an unreadable tangle."""
_DEGREES = """
SELECT friends, count(*) AS people FROM (SELECT "user", count(*) AS friends FROM links GROUP BY "user")
GROUP BY friends ORDER BY friends
"""
_TALKED = """
SELECT item, count(*) FILTER (action = 'hear') AS heard, count(DISTINCT "user") FILTER (action = 'hear') AS people
FROM events WHERE item >= 0 GROUP BY item HAVING heard > 0 ORDER BY people DESC, heard DESC, item LIMIT ?
"""
_HEARD = """
SELECT "user", min(hour) AS hour FROM events WHERE action = 'hear' AND item = ? GROUP BY "user" ORDER BY hour, "user"
"""
_WATCHED = """
SELECT s."user", min(e.hour) AS hour
FROM (SELECT session, "user" FROM steps WHERE list_contains(items, ?) AND watched[list_position(items, ?)]) s
JOIN (SELECT session, min(hour) AS hour FROM events WHERE session >= 0 GROUP BY session) e ON e.session = s.session
GROUP BY s."user"
"""


@dataclass(frozen=True, slots=True)
class Drawing:
    """People and friendships to draw.

    Attributes:
        people: user, x, y, friends, community (from 1, the largest first).
        ties: x, y, x2, y2.
        left_out: Number of people of the society not drawn.
    """

    people: pd.DataFrame
    ties: pd.DataFrame
    left_out: int


def degrees(view: RunView) -> pd.DataFrame:
    """Columns friends, people: the degree distribution."""
    return view.frame(_DEGREES)


def drawing(view: RunView) -> Drawing:
    """Lay out a sample of the society by forces with a fixed seed.

    The sample depends only on a hash of the ids, so that the same society gives the same drawing.

    Raises:
        MissingExtraError: networkx is not installed.
    """
    import pandas as pd

    try:
        import networkx as nx
    except ImportError as error:
        raise MissingExtraError("networkx", "dashboard", "Drawing a social graph") from error
    links = view.frame('SELECT "user" AS a, other AS b FROM links ORDER BY a, b')
    graph: nx.Graph[int] = nx.Graph()
    graph.add_edges_from(links.itertuples(index=False, name=None))
    chosen = _chosen(sorted(graph))
    part = graph.subgraph(chosen)
    groups = sorted(nx.community.label_propagation_communities(part), key=lambda group: (-len(group), min(group)))
    community = {user: number for number, group in enumerate(groups, 1) for user in group}
    places = nx.spring_layout(part, seed=0, iterations=60)
    rows = [(user, *map(float, places[user]), graph.degree[user], community[user]) for user in chosen]
    ties = [(*map(float, places[a]), *map(float, places[b])) for a, b in part.edges]
    people = pd.DataFrame(rows, columns=["user", "x", "y", "friends", "community"])
    return Drawing(people, pd.DataFrame(ties, columns=["x", "y", "x2", "y2"]), len(graph) - len(chosen))


def talked_about(view: RunView, most: int = 50) -> pd.DataFrame:
    """Columns item, heard (messages), people (who heard), title: items in messages, the most widely heard first."""
    frame = view.frame(_TALKED, most)
    return frame.assign(title=[view.title(item) for item in frame["item"]])


def diffusion(view: RunView, item: int) -> pd.DataFrame:
    """Columns hour, people, what: people who had heard of an item, and those who then watched it, by hour.

    A person counts as having watched it afterwards if the visit began no earlier than they first heard of it.
    """
    import pandas as pd

    heard, watched = view.frame(_HEARD, item), view.frame(_WATCHED, item, item)
    first = dict(heard.itertuples(index=False, name=None))
    after = sorted(hour for user, hour in watched.itertuples(index=False, name=None) if hour >= first.get(user, np.inf))
    rows = [(hour, n, "heard of it") for n, hour in enumerate(heard["hour"], 1)]
    rows += [(hour, n, "watched it afterwards") for n, hour in enumerate(after, 1)]
    return pd.DataFrame(rows, columns=["hour", "people", "what"])


def _chosen(users: list[int]) -> list[int]:
    ids = np.array(users, dtype=np.uint64)
    with np.errstate(over="ignore"):
        order = np.argsort(ids * np.uint64(0x9E3779B97F4A7C15), kind="stable")
    return sorted(int(user) for user in ids[order[:DRAWN]])
