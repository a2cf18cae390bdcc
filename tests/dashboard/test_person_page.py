"""The Person page: every part of a recorded run, deep links, and runs that lack what the page shows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from recsim_llm.dashboard.person import person_page
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.runs.recorded_context import HISTORY, HISTORY_SCHEMA, LINKS, LINKS_SCHEMA
from recsim_llm.runs.run import MEMORIES, part_path
from recsim_llm.runs.side_files import checksums
from recsim_llm.runs.step_notes import MEMORY_SCHEMA

PARTS = ("History", "Memory", "Neighbours", "Sessions", "Interview")
NASTY = "<script>alert(1)</script> [x](javascript:alert(1)) **b** 😀 עברית " + "long " * 60


def _page(top: str) -> None:
    from pathlib import Path

    from recsim_llm.dashboard.person.person_page import show

    show(Path(top))


def opened(top: Path, **query: str) -> AppTest:
    app = AppTest.from_function(_page, args=(str(top),), default_timeout=30)
    app.query_params.update(query)
    app.run()
    assert not app.exception
    return app


def texts(app: AppTest) -> str:
    """Everything that is written on the page, as one text."""
    kinds = ("markdown", "caption", "info", "warning", "error", "title")
    written = [element.value for kind in kinds for element in getattr(app, kind)]
    return "\n".join([*written, *(html.proto.body for html in app.get("html"))])


def write(path: Path, rows: list[tuple[object, ...]], schema: pa.Schema) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table([list(column) for column in zip(*rows, strict=True)], schema=schema), path)


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small town and a small run of sessions, with a history, friends and memories that hold markup."""
    path = tmp_path_factory.mktemp("runs")
    town = SimulationConfig(policies=("popularity",), users=8, rounds=3, pages=2, page_size=3)
    (run,) = simulate(town, path / "town", progress=False)
    people = json.loads((run.folder / "people.json").read_text())
    people.sort(key=lambda row: int(row["raw_id"]))
    people[1]["occupation"] = NASTY
    (run.folder / "people.json").write_text(json.dumps(people))
    me, a, b, c = (row["user"] for row in people[:4])
    write(run.folder / HISTORY, [(me, 1, 4.0, 1_000_000), (me, 2, 3.0, 0)], HISTORY_SCHEMA)
    write(run.folder / LINKS, [(me, a), (a, me), (b, me), (me, c)], LINKS_SCHEMA)
    memories = [(-1, me, -1, 2.0, "heard", 0.4, NASTY), (0, me, 1, 1.0, "feeling", 0.9, "glad")]
    write(part_path(run.folder, MEMORIES, 0), memories, MEMORY_SCHEMA)
    replace(run.manifest, files=checksums(run.folder)).write(run.folder)  # as if the run had written them itself
    simulate(replace(town, rounds=0, users=6, policies=("random",)), path / "visits", progress=False)
    return path


@pytest.fixture
def first(top: Path) -> str:
    """The id of the person of the town who has a history, friends and memories."""
    rows = json.loads((top / "town/popularity/people.json").read_text())
    return str(rows[0]["raw_id"])


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("run", ["town/popularity", "visits/random"])
def test_every_part_of_every_run_is_drawn(top, run, part):
    app = opened(top, run=run, part=part)
    assert not app.error
    assert "Activity" in texts(app)
    assert app.query_params["person"]


def test_the_address_names_the_person_and_the_box_writes_into_it(top, first):
    app = opened(top, run="town/popularity", person=first)
    assert f"Person {first}" in texts(app)
    box = app.sidebar.selectbox(key="chosen person")
    assert box.value == first
    other = next(name.split(" · ")[0] for name in box.options if not name.startswith(first))
    box.set_value(other).run()
    assert app.query_params["person"] == other
    assert f"Person {other}" in texts(app)


def test_many_people_are_found_by_typing(top, first, monkeypatch):
    monkeypatch.setattr(person_page, "_CHOICES", 2)
    app = opened(top, run="town/popularity", person=first)
    assert "8 people" in texts(app)
    box = app.sidebar.text_input(key="chosen person")
    box.set_value("<b>nobody").run()
    assert not app.exception
    assert "Nobody of the id" in texts(app)
    assert app.query_params["person"] == first


def test_a_part_that_is_chosen_is_in_the_address(top, first):
    app = opened(top, run="town/popularity", person=first, part="Memory")
    assert "2 memories" in texts(app)
    app.button_group(key="chosen part").set_value("Sessions").run()
    assert app.query_params["part"] == "Sessions"
    assert not app.exception


def test_somebody_who_is_not_there_is_said(top):
    app = opened(top, run="town/popularity", person="<b>nobody", part="nonsense")
    assert "Nobody of the id" in texts(app)
    assert "How this person rates" in texts(app)


def test_memories_are_shown_as_text(top, first):
    app = opened(top, run="town/popularity", person=first, part="Memory")
    assert "&lt;script&gt;" in texts(app)
    assert "<script" not in texts(app)
    assert "outside a visit" in texts(app)
    app.text_input(key=f"words {first}").set_value("GLAD").run()
    assert "&lt;script&gt;" not in texts(app)
    assert "glad" in texts(app)


def test_neighbours_are_counted_and_open_their_own_page(top, first):
    app = opened(top, run="town/popularity", person=first, part="Neighbours")
    assert "3 neighbours" in texts(app)
    rows = app.dataframe[0].value
    assert rows["relation"].tolist().count("linked both ways") == 1
    assert all(link.startswith("person?run=town%2Fpopularity&person=") for link in rows["open"])
    alone = opened(top, run="visits/random", part="Neighbours")
    assert "do not know each other" in texts(alone)


def test_sessions_link_to_their_replay(top):
    app = opened(top, run="visits/random", part="Sessions")
    assert "replay?run=visits%2Frandom&amp;session=" in texts(app)
    assert "1 session" in texts(app)


def test_a_run_without_people_catalogue_history_and_memories(top, tmp_path):
    (run,) = simulate(SimulationConfig(policies=("random",), users=3, pages=2), tmp_path / "a", progress=False)
    for path in (*run.folder.glob("people.json"), *run.folder.glob("catalogue.parquet"), *run.folder.glob("history*")):
        path.unlink()
    for part in PARTS:
        app = opened(tmp_path, run="a/random", part=part)
        assert "no people.json" in texts(app)
    assert "item " in " ".join(opened(tmp_path, run="a/random").dataframe[0].value["title"])


def test_a_run_that_has_no_page_yet(tmp_path):
    (run,) = simulate(SimulationConfig(policies=("random",), users=3, pages=2), tmp_path / "a", progress=False)
    replace(run.manifest, status="running", parts=0).write(run.folder)
    for path in (run.folder / "steps").iterdir():
        path.unlink()
    for part in PARTS:
        assert "has not been shown a page yet" in texts(opened(tmp_path, run="a/random", part=part))
    replace(run.manifest, status="running", parts=0, created="later").write(run.folder)
    (run.folder / "people.json").unlink()
    assert "Nobody is recorded" in texts(opened(tmp_path, run="a/random"))


def test_an_empty_folder(tmp_path):
    assert "no run" in texts(opened(tmp_path))
