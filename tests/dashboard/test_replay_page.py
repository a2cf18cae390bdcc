"""The Replay page: stepping, playing, deep links, choosing a session, and runs that lack what the page shows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from recsim_llm.dashboard.replay import replay_page
from recsim_llm.runs import Run, read_catalogue, write_catalogue
from recsim_llm.runs.run import STEPS, part_path
from recsim_llm.types import Item

NASTY = "<script>alert(1)</script> [x](javascript:alert(1)) **b** 😀 עברית " + "long " * 60


def _page(top: str) -> None:
    from pathlib import Path

    from recsim_llm.dashboard.replay.replay_page import show

    show(Path(top))


def opened(top: Path, **query: object) -> AppTest:
    app = AppTest.from_function(_page, args=(str(top),), default_timeout=30)
    app.query_params.update({name: str(value) for name, value in query.items()})
    return run(app)


def run(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception
    assert not app.error
    return app


def texts(app: AppTest) -> str:
    """Everything that is written on the page, as one text."""
    kinds = ("markdown", "caption", "info", "warning", "title", "code")
    written = [element.value for kind in kinds for element in getattr(app, kind)]
    return "\n".join([*written, *(html.proto.body for html in app.get("html"))])


def place(app: AppTest) -> tuple[int, int]:
    """Session and page in the address, and a check that the page is what is drawn."""
    session, page = (int(app.query_params[name]) for name in ("session", "page"))
    assert f"Session {session}<" in texts(app)
    assert app.button_group(key="replay strip").value == page
    return session, page


def press(app: AppTest, name: str) -> AppTest:
    app.button(key=f"replay {name}").click()
    return run(app)


def labels(app: AppTest) -> str:
    return app.button(key="replay play").label


def long_session(folder: Path) -> int:
    """A session of three pages."""
    steps = Run(folder).step_batch()
    return int(steps.session[steps.page == 2][0])


def cards(app: AppTest, folder: Path) -> None:
    """The titles, outcomes and the way it ended are those of the recorded step."""
    session, page = place(app)
    steps = Run(folder).session(session)
    drawn = texts(app)
    items = {item.id: item for item in read_catalogue(folder)[0]}
    assert all(items[item].title in drawn for item in steps.items[page])
    assert drawn.count("rp-did watched") == steps.watched[page].sum()
    assert drawn.count("rp-did skipped") == (~steps.watched[page]).sum()
    assert ("<b>stayed</b>" in drawn) == (page < len(steps) - 1)


@pytest.mark.parametrize("name", ["sessions/ease", "sessions/random", "agents/ease", "town/popularity"])
def test_every_kind_of_run_is_stepped_from_end_to_end(recorded, name):
    folder = recorded / name
    session = long_session(folder)
    app = opened(recorded, run=name, session=session)
    for page in range(3):
        assert place(app) == (session, page)
        cards(app, folder)
        assert app.button(key="replay back").disabled == (page == 0)
        assert app.button(key="replay forward").disabled == (page == 2)
        if page < 2:
            press(app, "forward")
    press(app, "back")
    assert place(app) == (session, 1)
    press(app, "exit")
    assert place(app) == (session, 2)


def test_the_strip_goes_to_a_page(recorded):
    session = long_session(recorded / "sessions/ease")
    app = opened(recorded, run="sessions/ease", session=session)
    app.button_group(key="replay strip").set_value(2)
    assert place(run(app)) == (session, 2)


@pytest.mark.parametrize(
    ("query", "there"), [({"session": 999}, (29, 0)), ({"session": "x"}, (0, 0)), ({"session": -4, "page": -1}, (0, 0))]
)
def test_an_address_that_names_nothing_is_said(recorded, query, there):
    app = opened(recorded, run="sessions/ease", **query)
    assert place(app) == there
    assert "There is no session" in texts(app)


def test_a_page_beyond_the_exit_is_the_exit(recorded):
    session = long_session(recorded / "sessions/ease")
    assert place(opened(recorded, run="sessions/ease", session=session, page=99)) == (session, 2)


def test_playing_turns_the_pages_and_stops_at_the_exit(recorded, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(replay_page.time, "monotonic", lambda: now[0])
    session = long_session(recorded / "sessions/ease")
    app = opened(recorded, run="sessions/ease", session=session)
    assert labels(press(app, "play")) == "Pause"
    assert place(app) == (session, 0)
    for page in (1, 2):
        now[0] += 1.9
        assert place(run(app)) == (session, page - 1)
        now[0] += 0.2
        assert place(run(app)) == (session, page)
    assert labels(app) == "Play"
    press(app, "play")  # at the exit: from the start
    assert place(app) == (session, 0)
    assert labels(app) == "Pause"
    app.button_group(key="replay pace").set_value("4×")
    run(app)
    press(app, "play")
    now[0] += 60
    assert place(run(app)) == (session, 0)
    press(app, "play")
    now[0] += 0.6
    assert place(run(app)) == (session, 1)


def test_playing_ends_where_another_session_is_chosen(recorded):
    session = long_session(recorded / "sessions/ease")
    app = opened(recorded, run="sessions/ease", session=session)
    assert labels(press(app, "play")) == "Pause"
    other = 0 if session else 1
    app.sidebar.number_input(key="replay session").set_value(other)
    assert place(run(app)) == (other, 0)
    assert labels(app) == "Play"


def test_a_session_is_chosen_by_person_and_by_visit(recorded):
    folder = recorded / "town/popularity"
    steps, people = Run(folder).step_batch(), json.loads((folder / "people.json").read_text())
    raw = {row["user"]: row["raw_id"] for row in people}
    visits = {int(user): sorted({*steps.session[steps.user == user].tolist()}) for user in steps.user}
    user = next(user for user, mine in visits.items() if len(mine) > 1)
    app = opened(recorded, run="town/popularity", session=next(m[0] for u, m in visits.items() if u != user))
    app.sidebar.selectbox(key="replay person").set_value(raw[user])
    assert place(run(app)) == (visits[user][0], 0)
    assert f"person={raw[user]}" in texts(app)
    app.sidebar.selectbox(key="replay visit").set_value(visits[user][1])
    assert place(run(app)) == (visits[user][1], 0)


def test_many_people_are_found_by_typing(recorded, monkeypatch):
    monkeypatch.setattr(replay_page, "_CHOICES", 2)
    app = opened(recorded, run="sessions/ease", session=3)
    people = json.loads((recorded / "sessions/ease/people.json").read_text())
    raw = {row["user"]: row["raw_id"] for row in people}
    steps = Run(recorded / "sessions/ease").session(5)
    box = app.sidebar.text_input(key="replay person")
    box.set_value("<b>nobody")
    assert place(run(app)) == (3, 0)
    assert "has no session" in app.toast[0].value
    app.sidebar.text_input(key="replay person").set_value(raw[int(steps.user[0])])
    assert place(run(app)) == (5, 0)


def test_the_raw_prompts_are_one_click_away(recorded):
    folder = recorded / "agents/ease"
    app = opened(recorded, run="agents/ease", session=0)
    assert not app.code
    app.session_state["replay calls"] = True
    run(app)
    written = {element.value for element in app.code}
    asked = Run(folder).calls(["question", "text"]).to_pydict()
    assert written & {*asked["question"]}
    assert written & {*asked["text"]}
    box = app.button_group(key="replay call")
    first = [element.value for element in app.code]
    box.set_value(1)
    run(app)
    assert [element.value for element in app.code] != first


def test_what_agents_add_to_memory_is_shown_and_statistical_users_add_none(recorded):
    session = long_session(recorded / "agents/ease")
    assert "Added to memory" in texts(opened(recorded, run="agents/ease", session=session, page=1))
    assert "keep no memory" in texts(opened(recorded, run="sessions/ease"))


@pytest.fixture
def bare(recorded: Path, tmp_path: Path) -> Path:
    """A copy of a run that can be spoiled."""
    shutil.copytree(recorded / "agents/ease", tmp_path / "run")
    return tmp_path


def test_a_run_of_an_older_version_lacks_much_and_is_shown(bare):
    for name in ("asked", "why", "memories"):
        shutil.rmtree(bare / "run" / name)
    for name in ("people.json", "catalogue.parquet", "history.parquet"):
        (bare / "run" / name).unlink()
    drawn = texts(opened(bare, run="run", session=0))
    assert "No prompt is on record" in drawn
    assert "kept no scores" in drawn
    assert "It knew nothing of the person yet" in drawn
    assert "item " in drawn


def running(folder: Path, parts: int) -> None:
    """Make a run one that is being written, of so many parts."""
    values = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**values, "status": "running", "parts": 0}))
    for number in range(parts, 3):
        part_path(folder, STEPS, number).unlink()


def test_a_run_without_a_page_is_a_sentence(bare):
    running(bare / "run", 0)
    assert "No page of a session is recorded" in texts(opened(bare, run="run"))


def test_a_session_that_goes_on_has_no_end(bare):
    running(bare / "run", 1)
    app = opened(bare, run="run")
    assert "still going on" in texts(app)
    assert app.button(key="replay play").disabled


def test_no_run_at_all_is_a_sentence(tmp_path):
    app = opened(tmp_path)
    assert "no run" in texts(app)


def test_a_session_that_is_missing_is_a_sentence(bare, monkeypatch):
    monkeypatch.setattr(replay_page.replay_data, "session", lambda *_: None)
    assert "not recorded yet" in texts(opened(bare, run="run", session=3))


def test_titles_that_could_do_harm_are_shown_as_they_are(bare):
    items, raw_ids = read_catalogue(bare / "run")
    write_catalogue(bare / "run", [Item(item.id, NASTY, None, (NASTY,)) for item in items], raw_ids)
    values = json.loads((bare / "run" / "run.json").read_text())
    (bare / "run" / "run.json").write_text(json.dumps({**values, "files": {}}))  # as if recorded with these titles
    drawn = texts(opened(bare, run="run"))
    assert "<script>" not in drawn
    assert "&lt;script&gt;alert(1)" in drawn
    assert "😀 עברית" in drawn


def test_long_sessions_are_counted_in_the_strip(recorded, monkeypatch):
    folder = recorded / "sessions/ease"
    session = long_session(folder)
    steps = Run(folder).session(session)
    drawn = [f"{page + 1} " + "".join("○●"[int(one)] for one in row) for page, row in enumerate(steps.watched)]
    counted = [f"{page + 1}: {row.sum()}/4" for page, row in enumerate(steps.watched)]
    for most, wanted in ((12, drawn), (11, counted)):
        monkeypatch.setattr(replay_page, "_MARKS", most)
        app = opened(recorded, run="sessions/ease", session=session)
        options = app.button_group(key="replay strip").options
        assert [text.partition(" :material")[0] for text in options] == wanted
        assert ":material" in options[-1]
