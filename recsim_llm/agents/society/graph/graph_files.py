"""The file of a social graph: CSV with the header user_1,user_2,relationship,closeness, as RecAgent has it.

A row says that user_1 is the <relationship> of user_2. Users are named by the data set's own raw ids. Read as an
undirected graph, one row stands for both directions; where the two relations differ (mother, child), give both rows.
Both directions of a pair must then have the same closeness.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from recsim_llm.agents.society.graph.graph import Edge, SocialGraph, closeness_fault, relation_fault
from recsim_llm.data.checks import ids, positions, require_columns
from recsim_llm.data.dataset import Person
from recsim_llm.data.tables import Table, numbers, read_text, text
from recsim_llm.errors import DataError
from recsim_llm.untrusted import read_bytes

HEADER = ("user_1", "user_2", "relationship", "closeness")


def load_graph(path: Path, people: Sequence[Person], *, directed: bool = False) -> SocialGraph:
    """Read the file of a graph (see the module).

    Args:
        path: The CSV file. Other columns are ignored.
        people: The data set's people, `people[u].user == u`; those that the file does not name have no acquaintances.
        directed: Whether a row leads from user_1 to user_2 only.

    Raises:
        DataError: The file is missing or no CSV, a column is missing, a person is unknown, a row joins a person to
            itself, a closeness is not in (0, 1], or two rows of one pair disagree.
        MissingExtraError: networkx is not installed.
    """
    try:
        content = read_bytes(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Name a CSV file: {','.join(HEADER)}.") from error
    table = read_text(str(path), content)
    if not len(table) and set(HEADER) <= set(table.data.column_names):
        return SocialGraph.from_edges(len(people), [], directed=directed)  # a society of strangers
    require_columns(table, *HEADER)
    rows = _rows(table, people)
    return SocialGraph.from_edges(len(people), rows if directed else _both_ways(table, rows), directed=directed)


def save_graph(graph: SocialGraph, people: Sequence[Person], path: Path) -> None:
    """Write the file of a graph; `load_graph` with the same `directed` gives the same graph back."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for edge in graph.edges():
        one, two = people[edge.user_1].raw_id, people[edge.user_2].raw_id
        writer.writerow((one, two, edge.relation, repr(edge.closeness)))
        if edge.inverse not in ("", edge.relation):
            writer.writerow((two, one, edge.inverse, repr(edge.closeness)))
    path.write_text(out.getvalue(), "utf-8")


def _rows(table: Table, people: Sequence[Person]) -> list[Edge]:
    """One directed edge per row, all values checked, repeated rows agreeing."""
    known = [person.raw_id for person in people]
    ones, twos = (positions(table, n, ids(table, n), known, "the data set").tolist() for n in HEADER[:2])
    relations: list[str] = text(table, "relationship").to_pylist()
    rows = [Edge(*row) for row in zip(ones, twos, relations, numbers(table, "closeness").tolist(), strict=True)]
    seen: dict[tuple[int, int], int] = {}
    for row, edge in enumerate(rows):
        _check_row(table, row, edge, known)
        first = seen.setdefault(edge[:2], row)
        if rows[first] != edge:
            _fail_disagreement(table, row, first, edge, rows[first])
    return rows


def _check_row(table: Table, row: int, edge: Edge, known: Sequence[str]) -> None:
    if edge.user_1 == edge.user_2:
        table.fail(row, "user_2", known[edge.user_2], "is joined to itself", "Remove this line.")
    if fault := relation_fault(edge.relation):
        table.fail(row, "relationship", edge.relation, fault, "Give a word such as 'friend'.")
    if fault := closeness_fault(edge.closeness):
        table.fail(row, "closeness", edge.closeness, fault, "Give a number above 0, at most 1; drop strangers' lines.")


def _both_ways(table: Table, rows: Sequence[Edge]) -> list[Edge]:
    """Undirected edges; the relation of the opposite row becomes the inverse."""
    place = {edge[:2]: row for row, edge in enumerate(rows)}
    merged = []
    for row, edge in enumerate(rows):
        back = place.get((edge.user_2, edge.user_1), row)
        if rows[back].closeness != edge.closeness:
            _fail_disagreement(table, max(row, back), min(row, back), rows[max(row, back)], rows[min(row, back)])
        merged.append(edge._replace(inverse=rows[back].relation))
    return merged


def _fail_disagreement(table: Table, row: int, first: int, edge: Edge, other: Edge) -> None:
    name = "closeness" if edge.closeness != other.closeness else "relationship"
    value, before = (e.closeness if name == "closeness" else e.relation for e in (edge, other))
    why = f"contradicts {table.place(first)}, where the same pair has {before!r}"
    table.fail(row, name, value, why, "Make the two equal, or remove one; one-way closeness needs directed=True.")
