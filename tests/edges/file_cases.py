"""Bad files: personas, interventions, studies, recorded runs and data sets, each wrong in one place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.edges.command_cases import LONG, commands_line
from tests.edges.judging import Case
from tests.edges.places import good_data, plain_data

WRONG: tuple[Any, ...] = (None, "text", 1.5, -1, [], {}, True)
RIGHT_TYPE: dict[str, tuple[type, ...]] = {"created": (str,), "stopped_by": (str,)}
PERSON = {"raw_id": "1", "activity": 1, "conformity": 2, "diversity": 3}
_OTHER = {
    "persona twice": [PERSON, PERSON],
    "no list": {"1": PERSON},
    "a person is a number": [5],
    "nobody": [{**PERSON, "raw_id": "nobody"}],
    "no id": [{k: v for k, v in PERSON.items() if k != "raw_id"}],
    "id is a list": [{**PERSON, "raw_id": [1]}],
    "trait missing": [{"raw_id": "1", "activity": 1}],
    "trait 4": [{**PERSON, "activity": 4}],
    "trait is text": [{**PERSON, "activity": "1"}],
    "trait is a list": [{**PERSON, "activity": [1]}],
    "trait is 1.5": [{**PERSON, "activity": 1.5}],
    "unknown field": [{**PERSON, "mood": 3}],
    "age is text": [{**PERSON, "age": "old"}],
    "age is negative": [{**PERSON, "age": -5}],
    "age is huge": [{**PERSON, "age": 10**20}],
    "gender is a number": [{**PERSON, "gender": 5}],
    "occupation is a list": [{**PERSON, "occupation": ["a"]}],
    "likes is text": [{**PERSON, "likes": "Drama"}],
    "likes is a number": [{**PERSON, "likes": 5}],
    "likes an unknown genre": [{**PERSON, "likes": ["Nonsense"]}],
    "liked item is huge": [{**PERSON, "liked_items": [10**9]}],
    "liked item is true": [{**PERSON, "liked_items": [True]}],
    "liked items is a number": [{**PERSON, "liked_items": 3}],
    "mean rating is text": [{**PERSON, "mean_rating": "good"}],
    "mean rating is huge": [{**PERSON, "mean_rating": 1e30}],
}
INTERVENTIONS = {
    "unknown kind": "[[adverts]]\nround = 1\nitem = 1\n",
    "no list": "[advert]\nround = 1\n",
    "round is text": '[[advert]]\nround = "one"\nitem = 1\nuntil = 2\n',
    "round is negative": "[[advert]]\nround = -1\nitem = 1\nuntil = 2\n",
    "round is 1.5": "[[advert]]\nround = 1.5\nitem = 1\nuntil = 2\n",
    "round is nan": "[[advert]]\nround = nan\nitem = 1\nuntil = 2\n",
    "round is true": "[[advert]]\nround = true\nitem = 1\nuntil = 2\n",
    "no such item": '[[new_item]]\nround = 1\nitem = "no such thing"\n',
    "item is a list": "[[new_item]]\nround = 1\nitem = [1]\n",
    "no such policy": '[[policy]]\nround = 1\npolicy = "eas"\n',
    "no such user": '[[profile]]\nround = 1\nuser = "nobody"\nage = 3\n',
    "age is text": '[[profile]]\nround = 1\nuser = "1"\nage = "old"\n',
    "unknown key": "[[new_item]]\nround = 1\nitem = 1\ncolour = 3\n",
    "friends with oneself": '[[link]]\nround = 1\nuser_1 = "1"\nuser_2 = "1"\n',
    "post without text": '[[post]]\nround = 1\nauthor = "platform"\nto = "everybody"\n',
}
STUDIES = {
    "no policy": "users = 5\n",
    "policy is text": 'policy = "random"\n',
    "users is text": 'users = "5"\n[[policy]]\nname = "random"\n',
    "users is 0": 'users = 0\n[[policy]]\nname = "random"\n',
    "users is -5": 'users = -5\n[[policy]]\nname = "random"\n',
    "users is huge": 'users = 100000000000000\n[[policy]]\nname = "random"\n',
    "seeds is 0": 'seeds = 0\n[[policy]]\nname = "random"\n',
    "pages is 0": 'pages = 0\n[[policy]]\nname = "random"\n',
    "unknown option": 'usres = 5\n[[policy]]\nname = "random"\n',
    "unknown policy": '[[policy]]\nname = "randm"\n',
    "policy twice": '[[policy]]\nname = "random"\n[[policy]]\nname = "random"\n',
    "explore is nan": '[[policy]]\nname = "random"\nexplore = nan\n',
    "explore is 2": '[[policy]]\nname = "random"\nexplore = 2.0\n',
    "sessions is 0": '[[policy]]\nname = "random"\nsessions = 0\n',
    "steps of one that does not learn": '[[policy]]\nname = "random"\nsteps = 100\n',
    "quit rule": 'quit = "windw"\n[[policy]]\nname = "random"\n',
    "user model": 'user_model = "robot"\n[[policy]]\nname = "random"\n',
    "no name": "[[policy]]\nsteps = 3\n",
}


def file_cases(places: dict[str, str], root: Path) -> Iterator[Case]:
    """Cases about the content of files; their files are made in `root`."""
    root.mkdir()
    for number, (label, people) in enumerate(_OTHER.items()):
        path = root / f"personas{number}.json"
        path.write_text(json.dumps(people))
        yield _simulate(places, f"personas: {label}", ["--personas", str(path)], path)
    for number, (label, text) in enumerate(INTERVENTIONS.items()):
        path = root / f"interventions{number}.toml"
        path.write_text(text)
        yield _simulate(
            places, f"interventions: {label}", ["--rounds", "2", "--interventions", str(path)], path, "interventions"
        )
    for number, (label, text) in enumerate(STUDIES.items()):
        path = root / f"study{number}.toml"
        path.write_text(text)
        line = ["study", str(path), "--out", str(root / f"study{number}")]
        yield Case("files: study", f"study: {label}", line, (path.name, *_words(text)))
    yield from _manifests(places, root)
    yield from _data(places, root)


def _words(text: str) -> tuple[str, ...]:
    names = [line.partition(" =")[0] for line in text.splitlines() if "=" in line and not line.startswith("name")]
    values = [line.partition("= ")[2].strip('"') for line in text.splitlines() if "=" in line]
    return tuple(filter(None, [*names, *values, "policy"]))


def _simulate(places: dict[str, str], label: str, words: list[str], path: Path, kind: str = "personas") -> Case:
    return Case(f"files: {kind}", label, [*commands_line(places, "simulate", "", []), *words], (path.name,))


def _manifests(places: dict[str, str], root: Path) -> Iterator[Case]:
    """Each field of `run.json` with values of another type, through the three readers."""
    source = Path(places["run"])
    right = json.loads((source / "run.json").read_text())
    readers = ("compare", "replay", "traits")
    number = 0
    for field, value in right.items():
        wrong = [w for w in WRONG if not _may_be(field, value, w)]
        for place in range(2):
            folder = root / "runs" / str(number)
            shutil.copytree(source, folder)
            bad = wrong[(number + place) % len(wrong)]
            (folder / "run.json").write_text(json.dumps({**right, field: bad}))
            reader = readers[number % 3]
            yield Case("files: run.json", f"run.json {field}={bad!r} ({reader})", [reader, str(folder)], ("run.json",))
            number += 1
    for field in right["config"]:
        value = right["config"][field]
        folder = root / "runs" / str(number)
        shutil.copytree(source, folder)
        bad = {"a": 1} if not isinstance(value, list) else "random"
        (folder / "run.json").write_text(json.dumps({**right, "config": {**right["config"], field: bad}}))
        yield Case(
            "files: run.json",
            f"run.json config.{field}={bad!r} (replay)",
            ["replay", str(folder)],
            (field, _option(field)),
        )
        number += 1
    for label, content in (("empty", b""), ("binary", bytes(range(256))), ("list", b"[1]"), ("nan", b"NaN")):
        folder = root / "runs" / str(number)
        shutil.copytree(source, folder)
        (folder / "run.json").write_bytes(content)
        yield Case("files: run.json", f"run.json {label}", ["compare", str(folder)], ("run.json",))
        number += 1


def _option(field: str) -> str:
    return "--policy" if field == "policies" else f"--{field.replace('_', '-')}"


def _may_be(field: str, right: Any, wrong: Any) -> bool:
    """Whether a value of the list is a right one for a field."""
    if field in RIGHT_TYPE:
        return isinstance(wrong, RIGHT_TYPE[field])
    if isinstance(right, str):
        return isinstance(wrong, str) and field not in {"status", "created"}
    if isinstance(right, dict):
        return isinstance(wrong, dict)
    if isinstance(right, list):
        return False
    return False


def _people(age: str) -> str:
    return "\n".join(["user,age", f"0,{age}", *(f"{user},30" for user in range(1, 6)), ""])


def _data(places: dict[str, str], root: Path) -> Iterator[Case]:
    ratings, items = good_data()
    first = ratings.splitlines()[1]
    user, item, _, time = first.split(",")
    for number, (label, field, bad_ratings, bad_items, more) in enumerate(
        (
            ("year 1e30", "year", ratings, items.replace(",1980,", ",1e30,"), {}),
            ("year nan", "year", ratings, items.replace(",1980,", ",nan,"), {}),
            ("year -5000000", "year", ratings, items.replace(",1980,", ",-5000000,"), {}),
            ("year is text", "year", ratings, items.replace(",1980,", ",soon,"), {}),
            ("rating nan", "rating", ratings.replace(first, f"{user},{item},nan,{time}"), items, {}),
            ("rating inf", "rating", ratings.replace(first, f"{user},{item},inf,{time}"), items, {}),
            ("rating -1", "rating", ratings.replace(first, f"{user},{item},-1,{time}"), items, {}),
            ("rating 1e30", "rating", ratings.replace(first, f"{user},{item},1e30,{time}"), items, {}),
            ("rating is text", "rating", ratings.replace(first, f"{user},{item},good,{time}"), items, {}),
            ("time 1e30", "time", ratings.replace(first, f"{user},{item},3,1e30"), items, {}),
            ("time nan", "time", ratings.replace(first, f"{user},{item},3,nan"), items, {}),
            ("rated twice", "item", ratings + first + "\n", items, {}),
            ("unknown item", "item", ratings + "1,999,3,5000\n", items, {}),
            ("item twice", "item", ratings, items + items.splitlines()[1] + "\n", {}),
            ("no header", "ratings.csv", "1,2,3,4\n", items, {}),
            ("empty ratings", "ratings.csv", "", items, {}),
            ("empty items", "items.csv", ratings, "", {}),
            ("only a header", "ratings", "user,item,rating,time\n", items, {}),
            ("levels are text", "rating_levels", ratings, items, {"dataset_json": '{"rating_levels": "5"}'}),
            ("levels hold nan", "rating_levels", ratings, items, {"dataset_json": '{"rating_levels": [1, NaN]}'}),
            ("levels hold inf", "rating_levels", ratings, items, {"dataset_json": '{"rating_levels": [1, Infinity]}'}),
            ("levels descend", "rating_levels", ratings, items, {"dataset_json": '{"rating_levels": [5, 1]}'}),
            ("name is a number", "name", ratings, items, {"dataset_json": '{"name": 5}'}),
            ("age 1e30", "age", ratings, items, {"people_csv": _people("1e30")}),
            ("age nan", "age", ratings, items, {"people_csv": _people("nan")}),
        )
    ):
        folder = plain_data(root / f"data{number}", bad_ratings, bad_items, **more)
        line = commands_line(places, "simulate", "--dataset", [str(folder)])
        yield Case("files: data", f"data: {label}", line, (field,))
    for name in ("ratings.csv", "items.csv", "dataset.json"):
        for label, content in (("binary", bytes(range(256)) * 4), ("latin-1", "\xe9\n".encode("latin-1"))):
            folder = plain_data(root / f"data-{name}-{label}", ratings, items)
            (folder / name).write_bytes(content)
            line = commands_line(places, "simulate", "--dataset", [str(folder)])
            yield Case("files: data", f"data: {name} {label}", line, (name,))
    folder = plain_data(root / f"data-{LONG[:20]}", ratings, items)
    line = commands_line(places, "simulate", "--dataset", [str(folder), "--users", "7"])
    yield Case("files: data", "data: more people than there are", line, ("1..6", "users"))
