"""Bad inputs through Gymnasium: arguments of `make`, of `reset`, actions, and rewards of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np

import recsim_llm  # noqa: F401 - registers the environments
from recsim_llm.environments.cross_session import CrossSessionVectorEnv
from recsim_llm.environments.long_term import LongTermVectorEnv
from recsim_llm.environments.society_env import SocietyVectorEnv
from recsim_llm.environments.vector import ItemVectorEnv, PageVectorEnv
from tests.edges.judging import Case

IDS = ("Page", "Item", "LongTerm", "CrossSession", "Society", "Request")
VECTORS: dict[str, Callable[..., Any]] = {
    "PageVector": PageVectorEnv, "ItemVector": ItemVectorEnv, "LongTermVector": LongTermVectorEnv,
    "CrossSessionVector": CrossSessionVectorEnv, "SocietyVector": SocietyVectorEnv,
}  # fmt: skip
SIZED = {"Page", "CrossSession", "Society", "Request", "PageVector", "CrossSessionVector", "SocietyVector"}
K = 3
BAD_COUNTS: tuple[Any, ...] = (0, -1, 1.5, "5", True, 10**20, float("nan"), None)
BAD_ITEMS: dict[str, Any] = {
    "1.5": 1.5, "nan": float("nan"), "inf": float("inf"), "true": True, "complex": 1 + 2j, "text": "1", "none": None,
    "-1": -1, "huge": 10**20, "outside": 10**6, "object": object(),
}  # fmt: skip


def make(name: str, **options: Any) -> Any:
    """An environment by its short name."""
    if name in SIZED:
        options = {"page_size": K, **options}
    if name in VECTORS:
        return VECTORS[name](**{"num_envs": 4, **options})
    return gym.make(f"recsim_llm/{name}-v0", **options)


def good_action(name: str) -> Any:
    """An action that is admissible."""
    page = np.arange(K) if name in SIZED else np.array(1)
    return np.stack([page] * 4) if name in VECTORS else page


def gym_cases() -> Iterator[Case]:
    """All of them."""
    for name in (*IDS, *VECTORS):
        yield from _actions(name)
    yield from _arguments()
    yield from _resets()
    yield from _rewards()


def _steps(name: str, action: Any) -> Callable[[], Any]:
    def act() -> None:
        env = made(name)
        env.reset(seed=0)
        env.step(action)

    return act


@cache
def made(name: str) -> Any:
    """An environment with its defaults; every case begins with a reset."""
    return make(name)


def _actions(name: str) -> Iterator[Case]:
    for label, item in BAD_ITEMS.items():
        action = _with_item(name, item)
        shown = {"nan": "nan", "huge": "100000000000000000000", "outside": "1000000", "-1": "-1", "1.5": "1.5"}
        yield Case(
            name, f"{name} action {label}", _steps(name, action), ("item", "Item", "action"), shown.get(label, "")
        )
    floats = np.asarray(good_action(name), dtype=np.float64)
    yield Case(name, f"{name} action of whole floats", _steps(name, floats), ("action",), "float64")
    yield Case(name, f"{name} action of booleans", _steps(name, floats > 0), ("action",), "bool")
    yield Case(name, f"{name} ragged action", _steps(name, [[1, 2], [3]]), ("action",))
    yield Case(name, f"{name} empty action", _steps(name, np.zeros((0,), dtype=np.int64)), ("action", "page"))
    yield Case(name, f"{name} action too long", _steps(name, np.zeros((5, 9), dtype=np.int64)), ("action", "page"))


def _with_item(name: str, item: Any) -> Any:
    """A page as lists, with one item replaced; with one item a page, of one environment, the item itself."""
    page: Any = np.asarray(good_action(name)).tolist()
    if not isinstance(page, list):
        return item
    rows: Any = page
    if isinstance(page[0], list):
        for row in rows:
            row[-1] = item
    else:
        rows[:] = [item] * len(rows) if name in VECTORS else [item, *rows[1:]]
    return rows


def _arguments() -> Iterator[Case]:
    def case(name: str, **options: Any) -> Case:
        (option, value), *_ = options.items()
        said = "" if value is None or callable(value) or option == "llm" else str(value)
        label = f"{name} {option}={str(value)[:20]}"
        names = (option, option.replace("_", " "), "parrot") if option in {"llm", "user_model"} else (option,)
        return Case("make", label, lambda: make(name, **options), names, said)

    for name, counts in (
        ("Page", ("page_size", "max_pages", "history_length")), ("Item", ("max_pages",)),
        ("LongTerm", ("page_size", "max_pages")), ("LongTermVector", ("page_size", "max_pages")),
        ("CrossSession", ("max_visits",)), ("Society", ("rounds",)),
        ("PageVector", ("num_envs", "page_size")), ("SocietyVector", ("num_envs",)),
    ):  # fmt: skip
        for option in counts:
            for value in BAD_COUNTS:
                yield case(name, **{option: value})
    for value in (0, -1, 1.5, "5", True, 10**20):
        yield case("Society", agents=value)
        yield case("PageVector", max_episode_steps=value)
    for value in ("x", "", "ratings", 5, None):
        yield case("Page", reward=value)
    for value in ("x", "", 5, None):
        yield case("Page", duplicates=value)
    for value in ("x", ""):
        yield case("Page", render_mode=value)
    for value in ("x", "", 5):
        yield case("Page", dataset=value)
        yield case("Page", user_model=value)
        yield case("LongTerm", rule=value)
        yield case("CrossSession", returning=value)
        yield case("PageVector", autoreset_mode=value)
        yield case("Society", graph=value)
    yield case("Page", llm="parrot", user_model="llm")


def _resets() -> Iterator[Case]:
    def reset(name: str, **given: Any) -> Callable[[], Any]:
        return lambda: made(name).reset(**given)

    for name in ("Page", "PageVector", "Society"):
        for seed in (-1, 1.5, "5", True, float("nan"), [1]):
            yield Case(
                "reset", f"{name} reset(seed={seed!r})", reset(name, seed=seed), ("seed",), str(seed).strip("[]")
            )
    for users in (-1, 10**6, 1.5, "1", True, float("nan"), [1, 2], [[1]], 10**20):
        wanted = ("user",)
        yield Case("reset", f"Page reset(user={users!r})", reset("Page", options={"user": users}), wanted)
    for users in ([1, 2], [1.5] * 4, [True] * 4, ["1"] * 4, [-1] * 4):
        yield Case(
            "reset", f"PageVector reset(user={users!r})", reset("PageVector", options={"user": users}), ("user",)
        )
    for mask in ([1, 0, 0, 0], "x", [True], [False] * 4):
        given = {"reset_mask": mask}
        yield Case("reset", f"PageVector reset({given})", reset("PageVector", options=given), ("reset_mask",))
    for name in ("Page", "PageVector", "Society"):
        yield Case("reset", f"{name} unknown option", reset(name, options={"usr": 1}), ("usr",))
        yield Case("reset", f"{name} options are text", reset(name, options="user"), ("options",))
        yield Case("reset", f"{name} options are a list", reset(name, options=["user"]), ("options",))


def _rewards() -> Iterator[Case]:
    wrong: dict[str, Callable[[Any], Any]] = {
        "nan": lambda r: np.full(len(r.ratings_BK), np.nan),
        "inf": lambda r: np.full(len(r.ratings_BK), np.inf),
        "a row too many": lambda r: np.zeros(len(r.ratings_BK) + 1),
        "a matrix": lambda r: r.ratings_BK,
        "text": lambda r: np.array(["1"] * len(r.ratings_BK)),
        "complex": lambda r: np.zeros(len(r.ratings_BK), dtype=complex),
        "booleans": lambda r: np.ones(len(r.ratings_BK), dtype=bool),
        "nothing": lambda r: None,
        "a number": lambda r: 1.0,
        "ragged": lambda r: [[1.0], [1.0, 2.0]],
    }
    for name in ("Page", "PageVector", "Item", "Society", "CrossSession"):
        for label, function in wrong.items():

            def act(name: str = name, function: Callable[[Any], Any] = function) -> None:
                env = make(name, reward=function)
                env.reset(seed=0)
                env.step(good_action(name))

            yield Case("reward", f"{name} own reward: {label}", act, ("reward",))
