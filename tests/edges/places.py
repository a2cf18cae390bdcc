"""Folders and files that bad inputs point at, and one small recorded run."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

BINARY = bytes(range(256)) * 8
NAMES = ("new", "missing", "folder", "file", "junk", "empty", "latin", "binary", "run")


def make_places(root: Path) -> dict[str, str]:
    """Paths by name: a run, and what is there, missing, or no file of the wanted kind.

    Args:
        root: An empty folder.
    """
    places = {name: str(root / name) for name in NAMES}
    (root / "folder").mkdir()
    for ending in ("", ".npz", ".toml", ".json", ".csv"):
        (root / f"file{ending}").write_text("just words\n")
        (root / f"junk{ending}").write_text("{[ junk ,;\n")
        (root / f"empty{ending}").write_bytes(b"")
        (root / f"latin{ending}").write_bytes("na\xefve = \xe9\n".encode("latin-1"))
        (root / f"binary{ending}").write_bytes(BINARY)
    record_run(root / "run")
    places["run"] = str(root / "run" / "random")
    return places


def record_run(folder: Path) -> None:
    """A run of two people."""
    from recsim_llm.cli.command_line import main

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(["simulate", "--users", "2", "--pages", "1", "--policy", "random", "--out", str(folder)])


def plain_data(folder: Path, ratings: str, items: str, **more: str) -> Path:
    """A data set in the plain format."""
    folder.mkdir(parents=True)
    (folder / "ratings.csv").write_text(ratings)
    (folder / "items.csv").write_text(items)
    for name, text in more.items():
        (folder / name.replace("_", ".", 1)).write_text(text)
    return folder


def good_data() -> tuple[str, str]:
    """Ratings and items of 6 people and 12 items."""
    rows = [f"{u},{i},{1 + (u + i) % 5},{1000 + u * 20 + i}" for u in range(6) for i in range(12) if (u + i) % 4]
    items = [f"{i},Title {i},19{80 + i},Drama|Comedy" for i in range(12)]
    return "\n".join(["user,item,rating,time", *rows, ""]), "\n".join(["item,title,year,genres", *items, ""])


def changed_json(path: Path, **values: object) -> None:
    """Give a JSON object other values."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
