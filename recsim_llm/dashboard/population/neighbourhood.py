"""Neighbours of one person in a society, and their graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recsim_llm.dashboard import theme
from recsim_llm.dashboard.person.person_data import about
from recsim_llm.dashboard.view import RunView
from recsim_llm.types import Floats

if TYPE_CHECKING:
    import altair as alt
    import networkx as nx
    import pandas as pd

MOST = 60
"""Most neighbours that are drawn."""
CLICKED = "clicked"
FRIENDS, FOLLOWS, FOLLOWED = "linked both ways", "this person follows them", "they follow this person"
RELATIONS = (FRIENDS, FOLLOWS, FOLLOWED)
_SELF = "this person"
_SPREAD_ROUNDS, _LABEL = 120, 12

# Messages are counted in both directions: those that this person received and those it sent.
_NEIGHBOURS = """
WITH near AS (
    SELECT other, bool_or(follows) AS follows, bool_or(NOT follows) AS followed FROM (
        SELECT other, true AS follows FROM links WHERE "user" = $1
        UNION ALL SELECT "user", false FROM links WHERE other = $1
    ) WHERE other <> $1 GROUP BY other
),
said AS (
    SELECT CASE WHEN "user" = $1 THEN other ELSE "user" END AS other,
        count(*) FILTER (WHERE "user" = $1) AS heard, count(*) FILTER (WHERE "user" <> $1) AS told
    FROM events WHERE action = 'hear' AND ("user" = $1 OR other = $1) GROUP BY 1
)
SELECT near.other AS other, follows, followed, coalesce(heard, 0) AS heard, coalesce(told, 0) AS told
FROM near LEFT JOIN said USING (other) ORDER BY heard + told DESC, follows AND followed DESC, near.other
"""
_BETWEEN = """
SELECT DISTINCT least("user", other) AS a, greatest("user", other) AS b FROM links
WHERE list_contains($1::BIGINT[], "user") AND list_contains($1::BIGINT[], other) AND "user" <> other ORDER BY a, b
"""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A neighbourhood with coordinates.

    Attributes:
        people: One row per person: other (user id), name, about, relation, heard, told, messages, x, y. The person
            itself comes first, at (0, 0).
        edges: One row per link: x, y, x2, y2, mine (whether the person itself is at one end).
    """

    people: pd.DataFrame
    edges: pd.DataFrame


def neighbours(view: RunView, user: int) -> pd.DataFrame:
    """Everybody linked to the person, those with most messages first.

    Returns:
        other (user id), name (the data set's id), about, relation (one of `RELATIONS`), heard (messages from the
        other that reached the person), told (those from the person that reached the other), messages (their sum).
    """
    frame = view.frame(_NEIGHBOURS, user)
    both, follows = frame["follows"] & frame["followed"], frame["follows"]
    others = frame["other"].tolist()
    return frame.drop(columns=["follows", "followed"]).assign(
        name=[view.raw_ids.get(other, str(other)) for other in others],
        about=[about(view.people.get(other)) for other in others],
        relation=np.where(both, FRIENDS, np.where(follows, FOLLOWS, FOLLOWED)),
        messages=frame["heard"] + frame["told"],
    )


def drawn(view: RunView, user: int, near: pd.DataFrame) -> Drawn:
    """The first `MOST` of `neighbours`, the links among them, and deterministic coordinates."""
    import pandas as pd

    near = near.head(MOST).reset_index(drop=True)
    ids = [user, *near["other"].tolist()]
    pairs = view.frame(_BETWEEN, ids)[["a", "b"]].to_numpy(np.int64)
    places = placed(ids, [(int(a), int(b)) for a, b in pairs])
    me = {"other": user, "name": view.raw_ids.get(user, str(user)), "about": about(view.people.get(user))}
    first = pd.DataFrame([{**me, "relation": _SELF, "heard": 0, "told": 0, "messages": 0}])
    people = pd.concat([first, near], ignore_index=True) if len(near) else first
    at = np.array([places[other] for other in people["other"].tolist()])
    edges = [(*places[int(a)], *places[int(b)], user in (a, b)) for a, b in pairs]
    return Drawn(
        people.assign(x=at[:, 0], y=at[:, 1], label=[_short(name) for name in people["name"]]),
        pd.DataFrame(edges, columns=["x", "y", "x2", "y2", "mine"]),
    )


def placed(ids: list[int], pairs: list[tuple[int, int]]) -> dict[int, tuple[float, float]]:
    """Coordinates by user id: the first person in the centre, friends near each other, labels not overlapping.

    Args:
        ids: User ids, the one in the middle first.
        pairs: Links among them.
    """
    import networkx as nx

    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(ids)
    graph.add_edges_from(pairs)
    if len(ids) == 1:
        return {ids[0]: (0.0, 0.0)}
    # A fixed seed, so that a person's graph looks the same on every visit.
    found = nx.spring_layout(graph, seed=7, k=2.5 / np.sqrt(len(ids)), iterations=150)
    at = np.array([found[i] for i in ids], dtype=np.float64)
    at = _apart(at - at[0])
    return {i: (float(x), float(y)) for i, (x, y) in zip(ids, at, strict=True)}


def _apart(at: Floats) -> Floats:
    """(P, 2) coordinates, pushed apart to make room for labels; the first point stays fixed."""
    at = at / max(float(np.abs(at).max()), 1e-9)
    # Room for P labels in a square of side 2; wider than high, because labels are.
    room = np.array([1.5, 0.9]) * 1.5 / np.sqrt(len(at))
    for _ in range(_SPREAD_ROUNDS):
        gaps = at[:, None, :] - at[None, :, :]  # (P, P, 2)
        # (P, P) distances in units of the room of a label: below 1 two labels overlap.
        far = np.sqrt(((gaps / room) ** 2).sum(axis=2))
        np.fill_diagonal(far, 1.0)
        push = np.where(far < 1, (1 - far) / 2, 0.0) / np.maximum(far, 0.05)
        moves = (gaps * push[:, :, None]).sum(axis=1)
        moves[0] = 0
        at = at + 0.5 * moves
    return at


def _short(name: str) -> str:
    return name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…"


def graph_chart(found: Drawn) -> alt.LayerChart:
    """The neighbourhood as a graph; a mark's size is the number of messages, its colour and shape the relation.

    A click selects a person: the selection `CLICKED` holds its `name`.
    """
    import altair as alt

    room = alt.Scale(padding=30, nice=False, zero=False)
    x, y = alt.X("x:Q", axis=None, scale=room), alt.Y("y:Q", axis=None, scale=room)
    lines = (
        alt.Chart(found.edges)
        .mark_rule(color="#8C8C8C")
        .encode(
            x=x,
            y=y,
            x2="x2:Q",
            y2="y2:Q",
            opacity=alt.condition("datum.mine", alt.value(0.55), alt.value(0.22)),
            strokeWidth=alt.condition("datum.mine", alt.value(1.6), alt.value(1.0)),
        )
    )
    domain = [_SELF, *(r for r in RELATIONS if (found.people["relation"] == r).any())]
    looks = {_SELF: (theme.ORANGE, "diamond"), FRIENDS: (theme.BLUE, "circle")}
    looks |= {FOLLOWS: (theme.GREEN, "triangle-right"), FOLLOWED: (theme.PINK, "triangle-left")}
    legend = alt.Legend(title=None, orient="top", symbolSize=140)
    people = (
        alt.Chart(found.people)
        .mark_point(filled=True, opacity=1, cursor="pointer")
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "relation:N", scale=alt.Scale(domain=domain, range=[looks[r][0] for r in domain]), legend=legend
            ),
            shape=alt.Shape(
                "relation:N", scale=alt.Scale(domain=domain, range=[looks[r][1] for r in domain]), legend=legend
            ),
            size=alt.condition(
                f"datum.relation == '{_SELF}'",
                alt.value(520),
                alt.Size("messages:Q", scale=alt.Scale(range=[110, 420]), legend=None),
            ),
            tooltip=[
                alt.Tooltip("name:N", title="person"),
                alt.Tooltip("about:N", title="who"),
                alt.Tooltip("relation:N", title="linked"),
                alt.Tooltip("heard:Q", title="messages heard from"),
                alt.Tooltip("told:Q", title="messages told to"),
            ],
        )
    )
    people = people.add_params(alt.selection_point(name=CLICKED, fields=["name"]))
    names = (
        alt.Chart(found.people)
        .mark_text(dy=-16, fontSize=12, fontWeight=500, color="currentColor")
        .encode(x=x, y=y, text="label:N")
    )
    chart: alt.LayerChart = alt.layer(lines, people, names).properties(height=520).configure_view(strokeWidth=0)
    return chart
