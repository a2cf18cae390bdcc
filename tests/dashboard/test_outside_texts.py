"""No text from a run or an address becomes an image, a link, an icon or a formula: hostile ones on every page."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from recsim_llm.certificate import FILE, PASS, Certificate, Metric
from recsim_llm.dashboard import theme

FOREIGN = "evil.example"
HOSTILE = (
    f"![x](http://{FOREIGN}/x.png) [y](https://{FOREIGN}) [z]: http://{FOREIGN} http://{FOREIGN}/a www.{FOREIGN}/b "
    f"a@{FOREIGN} mailto:b@{FOREIGN} xmpp:c@{FOREIGN} <http://{FOREIGN}/c> <img src=http://{FOREIGN}/d.png> "
    "HTTPS://EVIL.EXAMPLE WWW.evil.example :material/home: :red[r] :red-background[q] :smile: :streamlit: $x^2$ "
    "$$y$$ `c` **b** ~~s~~ &lt; # h | [^1] \\![n](m.png)"
)
NAME = HOSTILE.replace("/", "\N{DIVISION SLASH}")[:200]
"""The same as the name of a folder."""
PAGES = ("runs", "replay", "person", "population", "compare", "fidelity", "calls")
# Fields of Streamlit's messages that it shows as they are, or does not show. All others are Markdown to this test.
NOT_MARKDOWN = re.compile(
    r".*\.(id|url|icon|shortcut|type|tag|language|format|theme|placeholder|default|raw_values?|value)"
    r"|(Selectbox|MultiSelect)\.options|Code\.code_text|Html\.body|Dataframe\..*|ArrowNamedDataSet\.name"
    r"|VegaLiteChart\..*"
)
OWN_ICONS = re.compile(r" :material/(?:logout|timer_off):$")
CERTIFICATE = Certificate(
    metrics={"auc_like": Metric(0.8, 0.75, 0.85, 0.5, 0.7, 1.0, ">= 0.7", PASS), HOSTILE: Metric(None, why=HOSTILE)},
    dataset=HOSTILE,
    user_model=HOSTILE,
    split="random",
    n_users=7,
    warnings=(HOSTILE,),
    baselines={HOSTILE: {"auc_like": 0.6}},
    curves={"rating_histogram": {"levels": [1.0, 2.0], "simulated": [0.4, 0.6], "real": [0.5, 0.5]}},
    notes={"leave": HOSTILE, HOSTILE: [{"cell": HOSTILE, "weight": 0.5}], "command": f"recsim-llm {HOSTILE}"},
)


def survivors(markdown: str) -> list[str]:
    """What Streamlit would make of a text beyond a text.

    Marks are undone by a backslash. Addresses, icons and emoji are not: they are looked for in the text that is left
    when the backslashes are gone (remark-gfm's second pass, Streamlit's own plugins).
    """
    own = re.sub(r"(?<!\\)\[[^]]*\]\((?:person|replay)\?[\w%&=.+-]*\)", "", markdown)
    marks = re.findall(r"(?<!\\)(?:\\\\)*(!?\[|\]\(|\$|<|&\w+;|:[\w-]+\[)", own)
    left = re.sub(r"\\(?=[^\w\s])", "", own)
    return marks + re.findall(r"https?://|www\.|[-.\w+]@[-\w]|:material/|:[\w+-]+:", left, re.IGNORECASE)


@pytest.mark.parametrize("text", re.findall(r"\S+", HOSTILE))
def test_the_test_sees_what_is_dangerous_and_a_text_made_plain_is_not(text):
    harmless = {"#", "|", "h", "**b**", "~~s~~", "`c`", "\\![n](m.png)"}
    assert survivors(text) or text in harmless
    assert survivors(theme.plain(f"({text})")) == []
    assert theme.plain(text).replace("\\", "").replace("\N{WORD JOINER}", "") == text.replace("\\", "")


def test_ordinary_texts_can_be_copied():
    for text in ("transformers:smollm2-135m", "12:30", "a, b", "runs/demo"):
        assert "\N{WORD JOINER}" not in theme.plain(text)


@pytest.fixture(scope="module")
def top(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of agents and a society whose every text is hostile, and one that cannot be read."""
    path = tmp_path_factory.mktemp("hostile")
    for name, source in ((f"a {NAME}", "agents/ease"), (f"b {NAME}", "town/popularity")):
        spoil(Path(shutil.copytree(recorded / source, path / name)))
    broken = path / f"c {NAME}"
    broken.mkdir()
    (broken / "run.json").write_text('{"format_version": 1}')
    return path


def spoil(folder: Path) -> None:
    for file in folder.rglob("*.parquet"):
        if file.parent.name in ("memories", "why", "calls", "events") or file.name == "catalogue.parquet":
            table = pq.read_table(file)
            for place, field in enumerate(table.schema):
                if pa.types.is_string(field.type) and (field.name != "action"):
                    column = pa.array([HOSTILE] * table.num_rows, field.type)
                    table = table.set_column(place, field, column)
            pq.write_table(table, file)
    people = json.loads((folder / "people.json").read_text())
    for person in people:
        person |= {"raw_id": f"{person['raw_id']} {HOSTILE}", "gender": HOSTILE, "occupation": HOSTILE}
        person["likes"] = [HOSTILE]
    (folder / "people.json").write_text(json.dumps(people))
    manifest = json.loads((folder / "run.json").read_text())
    manifest |= {"policy": HOSTILE, "user_model": HOSTILE, "status": "interrupted", "stopped_by": HOSTILE}
    manifest |= {"llm": HOSTILE, "policy_llm": HOSTILE, "dataset": HOSTILE, "created": "2026-01-01T00:00:00+00:00"}
    manifest["config"]["llm"] = f"openai:{HOSTILE}"
    (folder / "run.json").write_text(json.dumps(manifest))
    recorded_as_it_is(folder)
    CERTIFICATE.write(folder / FILE)


def recorded_as_it_is(folder: Path) -> None:
    """Make run.json name no checksums, as if the run had recorded the files that lie there now."""
    manifest = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**manifest, "files": {}}))


def _page(name: str, top: str) -> None:
    from importlib import import_module
    from pathlib import Path

    from recsim_llm.dashboard import app

    app._page(import_module(f"recsim_llm.dashboard.{name}.{name}_page").show, Path(top))()


def opened(name: str, top: Path, **query: str) -> AppTest:
    app = AppTest.from_function(_page, args=(name, str(top)), default_timeout=60)
    app.query_params.update(query)
    app.run()
    assert not app.exception, app.exception
    return app


def check(app: AppTest) -> int:
    """Assert that nothing survives; returns the number of texts that were looked at."""
    looked = 0
    for node in app._tree:
        for field, text in fields(getattr(node, "proto", None)):
            if field == "Html.body":
                Tags().feed(text)
            elif not NOT_MARKDOWN.fullmatch(field):
                looked += 1
                assert survivors(OWN_ICONS.sub("", text)) == [], f"{field}: {text}"
    return looked


class Tags(HTMLParser):
    """Fails at a tag that loads something, or leads to another host."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"img", "script", "iframe", "link", "object", "embed", "video", "audio", "form", "base"}
        for name, value in attrs:
            assert name not in {"src", "srcset"}
            assert name != "href" or not re.match(r"\s*(?:[\w+.-]+:|//)", value or ""), value


def fields(message: Any) -> Iterator[tuple[str, str]]:
    """Every text in one of Streamlit's messages, with its field's name."""
    if not hasattr(message, "DESCRIPTOR"):
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            for text in [value] if isinstance(value, str) else value:
                yield f"{message.DESCRIPTOR.name}.{field.name}", text
        elif field.type == field.TYPE_MESSAGE:
            inner = [value] if hasattr(value, "DESCRIPTOR") else value
            for each in inner.values() if hasattr(inner, "values") else inner:
                yield from fields(each)


@pytest.mark.parametrize("name", PAGES)
def test_hostile_runs_are_shown_as_texts(top, name):
    # The society has more to show on two pages.
    run = f"b {NAME}" if name in ("population", "calls") else f"a {NAME}"
    assert check(opened(name, top, run=run, runs=run)) > 2


@pytest.mark.parametrize("part", ["Memory", "History", "Neighbours", "Sessions"])
def test_hostile_people_are_shown_as_texts(top, part):
    assert check(opened("person", top, run=f"b {NAME}" if part == "Neighbours" else f"a {NAME}", part=part)) > 2


@pytest.mark.parametrize("name", PAGES)
def test_hostile_addresses_are_shown_as_texts(recorded, name):
    query = dict.fromkeys(("runs", "session", "person", "part", "baseline", "page", "words", "id"), HOSTILE)
    app = opened(name, recorded / "agents", run=HOSTILE, **query)
    assert check(app) > 2
    assert name == "runs" or "There is no run" in "".join(element.value for element in app.warning)
    if name in ("replay", "person"):
        app = opened(name, recorded / "agents", run="ease", **query)
        assert check(app) > 2
        assert re.search(r"There is no session|Nobody of the id", "".join(element.value for element in app.warning))


def test_an_empty_folder_with_a_hostile_name(tmp_path):
    for name in ("runs", "replay", "compare"):
        assert check(opened(name, tmp_path / NAME)) >= 1
