"""The dashboard in a real headless Chromium, over runs that were really recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pyarrow.parquet as pq
import pytest
from test_outside_texts import HOSTILE, NAME, recorded_as_it_is, spoil

from recsim_llm.dashboard.view import RunView
from recsim_llm.testing.dashboard_browser import Browser, missing, serving

pytest.importorskip("selenium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]

PAGES = ("", "replay", "person", "population", "compare", "fidelity", "calls")
RUNS = ("sessions/ease", "agents/ease", "town/popularity")
NASTY = (
    "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>",
    "**bold** [x](javascript:window.pwned=1) `code` $x^2$",
    "😀 עברית بالعربية " + "a very long title " * 18,
)


def with_titles(folder: Path, titles: tuple[str, ...]) -> None:
    """Write titles into a run's catalogue, in turn."""
    table = pq.read_table(folder / "catalogue.parquet")
    column = [titles[k % len(titles)] for k in range(table.num_rows)]
    place = table.schema.get_field_index("title")
    pq.write_table(table.set_column(place, "title", [column]), folder / "catalogue.parquet")
    recorded_as_it_is(folder)


@pytest.fixture(scope="module")
def top(recorded, tmp_path_factory) -> Path:
    """The recorded runs, and beside them a nasty, a half-written, an old and a bare one."""
    path = tmp_path_factory.mktemp("shown") / "runs"
    shutil.copytree(recorded, path)
    for name in ("nasty", "half", "old", "bare"):
        shutil.copytree(recorded / "agents/ease", path / name)
    with_titles(path / "nasty", NASTY)
    manifest = json.loads((path / "half" / "run.json").read_text())
    (path / "half" / "run.json").write_text(json.dumps({**manifest, "status": "running", "parts": 0, "summary": {}}))
    sorted((path / "half" / "steps").iterdir())[-1].unlink()
    (path / "old" / "run.json").write_text(json.dumps({**manifest, "format_version": 2}))
    for name in ("catalogue.parquet", "people.json", "history.parquet"):
        (path / "bare" / name).unlink()
    for name in ("why", "asked", "memories"):
        shutil.rmtree(path / "bare" / name)
    return path


@pytest.fixture(scope="module")
def address(top):
    with serving(top) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


@pytest.mark.parametrize("run", [*RUNS, "nasty", "half", "bare"])
def test_every_page_loads_without_an_error(address, browser, run):
    for page in PAGES:
        key = "runs" if page == "compare" else "run"
        browser.open(f"{address}/{page}?{key}={run}")
        assert browser.errors() == [], page
        assert "Traceback" not in browser.text()
        assert browser.driver.execute_script("return window.pwned") is None, page


def test_titles_are_shown_as_they_are(address, browser):
    browser.open(f"{address}/replay?run=nasty&session=0&page=0")
    cards = browser.text()
    shown = [title for title in NASTY if title[:20] in cards]
    assert shown, cards[:500]
    assert browser.driver.find_elements("css selector", "img[src='x']") == []


@pytest.mark.parametrize("page", PAGES)
def test_no_text_reaches_another_host(hostile, page):
    """Everything that is asked for while hostile runs and addresses are shown comes from the dashboard itself."""
    where, runs, browser = hostile
    for run in (*runs, HOSTILE):
        query = urlencode({"run": run, "runs": run, "person": HOSTILE, "session": HOSTILE, "words": ""})
        browser.open(f"{where}/{page}?{query}")
        hosts = {urlsplit(url).netloc for url in browser.asked() if urlsplit(url).scheme not in {"data", "blob"}}
        assert hosts == {urlsplit(where).netloc}
        foreign = """return [...document.querySelectorAll("a[href], img[src]")].map(it => it.href || it.src)
            .filter(to => !to.startsWith(location.origin) && !to.startsWith("data:"))"""
        assert browser.driver.execute_script(foreign) == [], (page, run)
        for made in (".katex", "img[alt='Streamlit logo']"):
            assert browser.driver.find_elements("css selector", made) == [], (page, run, made)
        assert not browser.errors()


@pytest.fixture(scope="module")
def hostile(recorded, tmp_path_factory):
    """A dashboard over runs in which every text is hostile: its address, their names, a browser that saw no other."""
    path, names = tmp_path_factory.mktemp("hostile"), []
    for letter, source in (("a", "agents/ease"), ("b", "town/popularity")):
        names.append(f"{letter} {NAME}")
        spoil(Path(shutil.copytree(recorded / source, path / names[-1])))
    with serving(path) as found, Browser() as opened:
        yield found, names, opened


def test_the_replay_steps_by_button_and_by_key(address, browser, top):
    pages = len(RunView(top / "agents/ease").run.session(0))
    assert pages > 1
    browser.open(f"{address}/replay?run=agents%2Fease&session=0&page=0")
    first = browser.text()
    browser.click("Forward")
    assert "page=1" in browser.driver.current_url
    second = browser.text()
    assert second != first
    browser.press("ARROW_LEFT")
    assert "page=0" in browser.driver.current_url
    browser.press("ARROW_RIGHT")
    assert "page=1" in browser.driver.current_url
    assert browser.errors() == []


def test_a_deep_link_opens_its_step(address, browser, top):
    view = RunView(top / "sessions/ease")
    steps = view.run.step_batch()
    at = int(steps.page.argmax())
    browser.open(f"{address}/replay?run=sessions%2Fease&session={steps.session[at]}&page={steps.page[at]}")
    words = browser.text()
    for item in steps.items[at]:
        assert view.items[item].title in words


def test_a_filter_changes_a_figure(address, browser):
    browser.open(f"{address}/population?run=sessions%2Fease")
    before, words = browser.charts(), browser.text()
    boxes = browser.driver.find_elements("css selector", '[data-testid="stSidebar"] [data-testid="stSelectbox"]')
    box = next(box for box in boxes if box.text.strip().startswith("Activity"))
    box.find_element("css selector", "input").click()
    options = browser.driver.find_elements("css selector", '[role="option"]')
    next(option for option in options if option.text.strip() == "low").click()
    browser.settle()
    assert browser.text() != words
    assert browser.charts() != before
    assert browser.errors() == []


def test_an_old_run_is_named_and_the_others_are_shown(address, browser):
    browser.open(address)
    assert "format 2" in browser.text()
    browser.open(f"{address}/replay?run=old")
    assert "format 2" in browser.text()
    assert browser.errors() == []


def test_an_empty_folder_says_how_to_begin(browser, tmp_path):
    with serving(tmp_path) as address:
        for page in PAGES:
            browser.open(f"{address}/{page}")
            assert "recsim-llm simulate" in browser.text(), page
            assert browser.errors() == []
