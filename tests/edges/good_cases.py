"""Right inputs beside the bad ones: whoever refuses everything would pass the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.edges.command_cases import commands_line
from tests.edges.gym_cases import K, good_action, make
from tests.edges.judging import Case
from tests.edges.places import good_data, plain_data


def good_commands(places: dict[str, str]) -> Iterator[Case]:
    """Calls that end with exit code 0, many at the very end of a range."""
    rows: list[tuple[str, str, list[str]]] = [
        ("simulate", "--seed", ["0"]),
        ("simulate", "--seed", ["9223372036854775807"]),
        ("simulate", "--users", ["200"]),
        ("simulate", "--page-size", ["499"]),
        ("simulate", "--batch-size", ["1"]),
        ("simulate", "--reward", ["watch"]),
        ("simulate", "--policy", ["random", "ease?reg=0.5", "ease?reg=100&min_rating=3"]),
        ("simulate", "--policy", ["item-knn?neighbours=3&shrinkage=0"]),
        (
            "simulate",
            "--quit",
            ["window?nearest=0&repeats=0&ratings=expected&share=1&hazard=true&tolerance=common&repetition=none"],
        ),
        ("simulate", "--quit", ["window?repeats=null"]),
        ("simulate", "--dataset", ["synthetic:7:30"]),
        ("simulate", "--encoder", ["hash:64"]),
        ("simulate", "--user-model", ["llm", "--llm", "uniform", "--budget-calls", "1000", "--max-hours", "0.5"]),
        ("simulate", "--users", ["30", "--rounds", "4", "--graph", "watts-strogatz:4,0.1"]),
        ("simulate", "--users", ["30", "--rounds", "4", "--word-of-mouth", "0", "--seek", "1", "--exposure", "-0.5"]),
        ("simulate", "--dry-run", []),
        ("simulate", "--user-model", ["recagent:threshold=0.66", "--llm", "uniform"]),
        ("agentcf learn", "--rounds", ["1"]),
        ("replay", "", [places["run"]]),
        ("compare", "", [places["run"]]),
        ("interview", "--after", ["1"]),
    ]
    for command, flag, values in rows:
        line = commands_line(places, command, flag, values[:1]) if values else commands_line(places, command, "", [])
        line += [flag] if flag and not values else values[1:] if flag and values[1:2] and "--" in values[1] else []
        if flag == "--policy":
            line = commands_line(places, command, flag, values)
        yield Case(command, f"{command} {flag} {' '.join(values)}", line)
    folder = plain_data(Path(places["folder"]) / "good", *good_data())
    yield Case("simulate", "a folder of plain tables", commands_line(places, "simulate", "--dataset", [str(folder)]))


def good_calls() -> Iterator[Case]:
    """Actions of every whole dtype, as lists and arrays; rewards of one's own; seeds and users at the ends."""

    def step(name: str, action: object, **options: object) -> None:
        env = make(name, **options)
        env.reset(seed=0)
        env.step(action)

    for name in ("Page", "Item", "PageVector", "ItemVector", "Society"):
        for kind in ("int8", "uint8", "int32", "uint64", "int64"):
            action = np.asarray(good_action(name)).astype(kind)
            yield Case(name, f"{name} {kind}", lambda name=name, action=action: step(name, action))
        given = np.asarray(good_action(name)).tolist()
        yield Case(name, f"{name} list", lambda name=name, given=given: step(name, given))
    flat = np.concatenate(list(good_action("PageVector")))
    yield Case("PageVector", "flat rows", lambda: step("PageVector", flat))
    own = lambda responses: responses.watched_BK.sum(axis=1)  # noqa: E731 - whole numbers are numbers
    yield Case("Page", "a reward of one's own", lambda: step("Page", np.arange(K), reward=own))
    for seed in (0, 2**63 - 1):
        yield Case("Page", f"seed {seed!r}", lambda seed=seed: make("Page").reset(seed=seed))
    yield Case("Page", "user 199", lambda: make("Page").reset(options={"user": 199}))
    yield Case("Page", "a user as an array", lambda: make("Page").reset(options={"user": np.array([3])}))
    yield Case("PageVector", "a list of seeds", lambda: make("PageVector").reset(seed=[1, None, 3, 4]))
