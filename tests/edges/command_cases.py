"""Bad inputs for the command line, made from the fields of the commands' dataclasses: a new option is covered at once.

To add a case by hand, append to `by_hand`; to give a new command its smallest valid call, add a line to `BASES`.
"""

from __future__ import annotations

import dataclasses
import itertools
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recsim_llm.cli.verb_files import find_verbs
from recsim_llm.cli.verbs.learning.agentcf_command import AgentCFLearn, AgentCFRank
from tests.edges.judging import Case

_FRESH = itertools.count()
LONG = "x" * 300
WHOLE = ("abc", "", "1.5", "1e20", "nan", "-1", "100000000000000000000")
NUMBERS = ("abc", "", "nan", "inf", "-1", "1e400")
TEXTS = ("", LONG)
ZERO_MEANS_SOMETHING = {
    "word_of_mouth", "seek", "conformity", "exposure",
    "seed", "rounds", "budget", "hold_items", "lora_rank", "rate", "teacher", "rehearse", "people", "rows", "seeds",
    "gpus_per_replica",
}  # fmt: skip
ZERO_IS_ALL = {
    ("certify", "users"),
    ("study", "users"),
    ("tune", "steps"),
    ("agentcf learn", "users"),
    ("agentcf rank", "users"),
}

BASES: dict[str, dict[str, list[str]]] = {
    "simulate": {"--users": ["2"], "--pages": ["1"], "--policy": ["random"], "--out": ["{new}"]},
    "replay": {"": ["{run}"]},
    "compare": {"": ["{run}"]},
    "traits": {"": ["{run}"]},
    "interview": {"": ["{run}", "Why?"], "--user": ["1"], "--llm": ["uniform"]},
    "certify": {"--dataset": ["synthetic"], "--users": ["10"], "--resamples": ["100"], "--out": ["{new}"]},
    "calibrate": {"--dataset": ["synthetic"], "--llm": ["uniform"], "--users": ["10"]},
    "ranking": {"": ["synthetic"], "--out": ["{new}.json"]},
    "agentcf learn": {"--dataset": ["synthetic"], "--llm": ["uniform"], "--users": ["2"], "--out": ["{new}"]},
    "agentcf rank": {"--dataset": ["synthetic"], "--llm": ["uniform"], "--users": ["2"], "--out": ["{new}.json"]},
    "train": {"--steps": ["20"], "--num-envs": ["10"], "--eval-every": ["10"], "--out": ["{new}.npz"]},
    "tune": {"--dataset": ["synthetic"], "--model": ["{missing}"], "--out": ["{new}"]},
    "assess": {"": ["{missing}"]},
    "study": {"": ["quick"], "--out": ["{new}"]},
    "dashboard": {"": ["{run}"]},
    "policies": {"": ["ease"]},
    "agents": {"": ["agent4rec"]},
    "backends": {"": ["vllm"]},
}
"""The smallest call of each command that is right but for the option under test."""
COMMANDS: dict[str, type] = {
    "agentcf learn": AgentCFLearn,
    "agentcf rank": AgentCFRank,
    **{name: find_verbs()[name].options() for name in BASES if " " not in name},
}
POSITIONAL = {
    ("replay", "run"): 0, ("compare", "runs"): 0, ("traits", "run"): 0, ("interview", "run"): 0,
    ("interview", "question"): 1, ("ranking", "dataset"): 0, ("assess", "folder"): 0, ("study", "study"): 0,
    ("dashboard", "runs"): 0, ("policies", "name"): 0, ("agents", "name"): 0, ("backends", "name"): 0,
}  # fmt: skip
EMPTY_IS_DEFAULT = {
    "user_model", "llm", "policy_llm", "quit", "interventions", "personas", "ray", "naming", "user", "question",
    "study_dataset", "name",
}  # fmt: skip
FREE_TEXT = {"question"}
WRITES = {"out"}


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of one command.

    Attributes:
        command: The command.
        field: Name of the field.
        flag: As it is written; "" for a positional.
        kind: Its type, without None and annotations.
        choices: Of a Literal.
        many: Whether it takes several values.
    """

    command: str
    field: str
    flag: str
    kind: Any
    choices: tuple[Any, ...] = ()
    many: bool = False


def options() -> list[Option]:
    """Every option of every command."""
    return [option for name, kind in COMMANDS.items() for option in _options(name, kind)]


def _options(command: str, kind: type) -> Iterator[Option]:
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        base, name, many = _plain(hints[field.name], field.name)
        if dataclasses.is_dataclass(base):
            yield from _options(command, typing.cast(type, base))
            continue
        choices = typing.get_args(base) if typing.get_origin(base) is typing.Literal else ()
        flag = "" if (command, field.name) in POSITIONAL else f"--{name.replace('_', '-')}"
        yield Option(command, field.name, flag, base, choices, many)


def _plain(hint: Any, name: str) -> tuple[Any, str, bool]:
    """The type beneath Annotated, None and tuples; its name on the command line; whether there are several."""
    many = False
    while True:
        origin, args = typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Annotated:
            name = next((a.name for a in args[1:] if getattr(a, "name", None)), name)
            hint = args[0]
        elif origin in (typing.Union, types.UnionType):
            hint = next(a for a in args if a is not type(None))
        elif origin is tuple:
            hint, many = args[0], True
        else:
            return hint, name, many


def commands_line(places: dict[str, str], command: str, flag: str, values: list[str], position: int = 0) -> list[str]:
    """The smallest call with one option given these values."""
    words = command.split()
    for name, given in BASES[command].items():
        if not name:
            given = list(given)
            if not flag and values:
                given[position : position + 1] = values
            words += given
        elif name != flag:
            words += [name, *given]
    if flag:
        # "=" so that a value that begins with a dash is a value.
        words += [f"{flag}={values[0]}"] if len(values) == 1 else [flag, *values]
    fresh = {**places, "new": f"{places['new']}{next(_FRESH)}"}  # a run that was let in is in no other case's way
    return [word.format(**fresh) if word.startswith("{") else word for word in words]


def from_fields(places: dict[str, str]) -> Iterator[Case]:
    """Bad values of every option, by its type."""
    for option in options():
        for value in _bad_values(option, places):
            position = POSITIONAL.get((option.command, option.field), 0)
            line = commands_line(places, option.command, option.flag, [value], position)
            short = value if len(value) < 40 else f"{value[:12]}...({len(value)})"
            for place, path in places.items():
                short = short.replace(path, place)
            names = (option.flag, option.field) if option.flag else (option.field.upper(), option.field, value)
            names = (*names, "Unrecognized options: maybe") if option.kind is bool else names
            yield Case(
                option.command, f"{option.command} {option.flag or option.field}={short}", line, names, value, made=True
            )


def _bad_values(option: Option, places: dict[str, str]) -> list[str]:
    if option.kind is bool:
        return ["maybe"]
    if option.choices:
        return [*([] if "" in option.choices else [""]), LONG, str(option.choices[-1])[:-1]]
    if option.kind is int:
        return [*WHOLE, *_zero(option)]
    if option.kind is float:
        return [*NUMBERS, *_zero(option)]
    if option.kind is Path:
        return _bad_paths(option, places)
    if option.field in FREE_TEXT:
        return []
    empty = option.field in EMPTY_IS_DEFAULT or (option.command, option.field) == ("study", "dataset")
    return [LONG] if empty else list(TEXTS)


def _zero(option: Option) -> list[str]:
    free = option.field in ZERO_MEANS_SOMETHING or (option.command, option.field) in ZERO_IS_ALL
    return [] if free or option.field == "after" else ["0"]


def _bad_paths(option: Option, places: dict[str, str]) -> list[str]:
    ending = {"train": ".npz", "ranking": ".json", "agentcf rank": ".json", "compare": ".md"}.get(option.command, "")
    if option.field in WRITES:
        taken = places["folder"] if ending else places["file"]
        return ["", LONG + ending, f"{places['file']}/below{ending}", taken if ending != ".npz" else places["file"]]
    if option.field in {"predictions", "log"}:
        return [LONG, places["missing"], places["folder"], f"{places['file']}/below"]
    if option.command == "dashboard":
        return [LONG, places["file"], f"{places['file']}/below"]
    return ["", LONG, places["missing"], places["file"], places["folder"], f"{places['file']}/below"]


def by_hand(places: dict[str, str]) -> Iterator[Case]:
    """What types do not tell: names that are nearly right, options of backends and policies, what goes together."""
    p = places
    rows: list[tuple[str, str, list[str], tuple[str, ...], str]] = []

    def add(command: str, flag: str, values: list[str], names: tuple[str, ...] = (), value: str = "") -> None:
        rows.append((command, flag, values, names or (flag,), value))

    openai = "openai:m?"
    said = {"null": "", "1e20": "1e+20"}  # the line is not repeated, so a number reads as Python writes it
    for option, value in (
        ("concurrency", "abc"), ("concurrency", "0"), ("concurrency", "-1"), ("concurrency", "1.5"),
        ("concurrency", "true"), ("concurrency", "1e20"), ("concurrency", "null"), ("concurrency", "[1]"),
        ("timeout_s", "abc"), ("timeout_s", "-1"), ("timeout_s", "0"), ("timeout_s", "NaN"), ("timeout_s", "Infinity"),
        ("max_retries", "abc"), ("max_retries", "-1"), ("max_retries", "1.5"), ("top_logprobs", "x"),
        ("top_logprobs", "-3"), ("hedge", "maybe"), ("hedge", "3"), ("hedge_after_s", "abc"), ("hedge_after_s", "-1"),
        ("base_url", "5"), ("api_key_env", "5"),
    ):  # fmt: skip
        add("interview", "--llm", [f"{openai}{option}={value}"], (option,), said.get(value, value))
    for option, value in (("dtype", "5"), ("max_batch_tokens", "abc"), ("kept_bytes", "-1"), ("device", "7")):
        add("interview", "--llm", [f"transformers:m?{option}={value}"], (option,), value)
    for option, value in (("max_model_len", "abc"), ("gpu_memory", "2"), ("gpu_memory", "x"), ("adapters", "-1")):
        add("interview", "--llm", [f"vllm:m?{option}={value}"], (option,), value)
    add("interview", "--llm", [f"{openai}concurency=5"], ("concurrency",), "concurency")
    # What stands in the wrong place may be a key: the sentence tells the model and the place, and repeats nothing.
    nameless = ("'openai:m': options look like ?name=value&name=value, each once; number 1 does not",)
    add("interview", "--llm", [f"{openai}concurrency"], nameless)
    for option in ("api_key", "token", "password"):
        add("interview", "--llm", [f"{openai}{option}=abc"], (f"'{option.removeprefix('api_')}' in its name",))
    for host in ("http://h", "h/path", "h:0", "h:65536", "h:", "a b", "..", "u@h"):
        add("dashboard", "--interview-host", [host], value=host)
    for address in ("0", "999.1.1.1", "127.0.0.1:80", "no such host"):
        add("dashboard", "--address", [address], value=address)
    add("interview", "--llm", [f"{openai}concurrency=1&concurrency=2"], ("concurrency",))
    for spec in ("python:os:getcwd", "python:os:nothing", "python:no_such_module:f", "python:os:path",
                 "python:os:remove", "python::", "python:math:pi", "uniform:x", "opnai:m", ":", "openai:"):  # fmt: skip
        add("interview", "--llm", [spec], (spec, "--llm"))
    simulate = "simulate"
    for policy in ("ease?reg=abc", "ease?reg=-1", "ease?reg=NaN", "ease?reg=Infinity", "ease?reg=true",
                    "als?epochs=0", "als?epochs=1.5", "als?embedding_size=abc", "item-knn?neighbours=0",
                   "item-knn?neighbours=2.5", "popularity?min_rating=abc", "popularity?min_rating=-1",
                   "popularity?min_rating=NaN", "bpr?learning_rate=0", "bm25?recent=0", "sasrec?dropout=2",
                   "embeddings?vectors=5", "cornac?model=5"):  # fmt: skip
        option, _, value = policy.partition("?")[2].partition("=")
        add(simulate, "--policy", [policy], (option,), "" if value == "true" else value)
    for policy in ("eas", "EASE", "ease?", "ease?reg", "ease?reg=1&reg=2", "ease:x", "?reg=5", f"{p['missing']}.npz",
                   f"{p['junk']}.npz", "dqn"):  # fmt: skip
        add(simulate, "--policy", [policy], (policy.partition("?")[0] or policy, policy))
    add(simulate, "--policy", ["random", "random"], ("--policy", "policies", "policy"), "random")
    for rule in ("windw", "window?nearest=2", "window?nearest=abc", "window?window=0", "window?window=1.5",
                 "window?repeats=-1", "window?repeats=abc", "window?low_reward=NaN", "window?ratings=x",
                 "window?share=0", "window?share=NaN", "window?hazard=5", "window?first_item=maybe",
                 "window?tolerance=mine", "window?repetition=true", "window?nerest=0.1", "window:x"):  # fmt: skip
        add(simulate, "--quit", [rule], ("--quit", "quit rule", "Quit rule"), rule.partition("=")[2])
    for name, near in (("statisticl", "statistical"), ("hybrid:agent4", "agent4rec"), ("hybrid:hybrid", "hybrid"),
                       ("agent4rec:nonsense", "nonsense"), ("llm:tunedd", "llm:tuned"), ("calibrated:x", "x"),
                       ("agentcf:", "agentcf")):  # fmt: skip
        add(simulate, "--user-model", [name, "--llm", "uniform"], (name, near), near)
    for value in ("ratings", "Rating", "watched"):
        add(simulate, "--reward", [value], ("reward",), value)
    for value in ("homphily", "homophily:abc", "homophily:-1", "barabasi-albert:0",
                  "barabasi-albert:99999", "watts-strogatz:10,2", "watts-strogatz:10,abc",
                  p["missing"], p["folder"], p["junk"], p["empty"]):  # fmt: skip
        add(simulate, "--graph", [value, "--rounds", "1"], (value, "graph of 2 users with"))
    for value in ("hsh", "hash:abc", "hash:0", "hash:-1", "hash:1e9", "hash:100000000000", "minilm:0", p["missing"]):
        add(simulate, "--encoder", [value], (value, "--encoder"))
    for value in ("synthetik", "synthetic:abc", "synthetic:-1", "synthetic:0:0", "synthetic:0:-5", "synthetic:0:5:5",
                  "synthetic:0:1.5", "synthetic:0:99999999999999", "ml-100", p["file"], p["folder"]):  # fmt: skip
        add(simulate, "--dataset", [value], (value,))
    for name in ("personas", "interventions"):
        for place in ("missing", "folder", "junk", "latin", "empty", "binary"):
            add(simulate, f"--{name}", [p[place], "--rounds", "1"], (p[place],))
    add(simulate, "--resume", [])
    add(simulate, "--users", ["201"], ("users", "1..200"), "201")
    add(simulate, "--page-size", ["501"], ("page_size", "--page-size"), "501")
    add(simulate, "--replicas", ["2"], ("--ray",), "")
    add(simulate, "--gpus-per-replica", ["1"], ("--ray",), "")
    add(simulate, "--gpus-per-replica", ["1.5", "--ray", "local"], ("--gpus-per-replica",), "1.5")
    add(simulate, "--ray", ["local"], ("--ray",), "local")
    add(simulate, "--budget-calls", ["5"], ("--budget-calls",), "5")
    add(simulate, "--max-hours", ["2"], ("--max-hours",), "2")
    add(simulate, "--interventions", [p["file"]], ("--rounds",), "")
    add(simulate, "--rounds", ["2", "--quit", "window"], ("--rounds",), "")
    for flag in ("--word-of-mouth", "--seek", "--conformity", "--exposure"):
        add(simulate, flag, ["1"], (flag,), "")
    add("certify", "--require", ["nonsense"], ("nonsense",), "nonsense")
    add("certify", "--require", ["rps_skill>=abc"], ("rps_skill>=abc",), "abc")
    add("certify", "--require", [""], ("--require",))
    for place in ("junk", "empty", "binary", "latin"):
        add("certify", "--predictions", [p[place]], (p[place],))
        add("ranking", "", [p[place]], (p[place],))
    add("interview", "--user", ["nobody"], ("nobody", "--user"), "nobody")
    add("interview", "--after", ["99"], ("--after",), "99")
    add("study", "--policies", ["eas"], ("eas",), "eas")
    for command, value, near in (
        ("policies", "eas", "ease"),
        ("agents", "agent4", "agent4rec"),
        ("backends", "v", "vllm"),
    ):
        add(command, "", [value], (near,), value)
    add("study", "--policies", ["random", "random"], ("--policies", "policies", "policy"), "random")
    for place in ("missing", "junk", "empty", "binary", "latin"):
        path = f"{p[place]}.toml"
        add("study", "", [path], (path,))
    add("study", "", ["quik"], ("quick",), "quik")
    for command, name, near in (("data", "ml-100", "ml-100k"), ("models", "smollm", "smollm2-135m")):
        for value in ("", LONG, name, "../../etc/passwd", "."):
            yield Case(command, f"{command} get {value[:20]}", [command, "get", value], (near,), value)
    add(simulate, "--policy", ["ease?rge=5"], ("rge", "reg"))
    for unknown, near in (("--pagse 3", "--pages"), ("--polcy x", "--policy"), ("--nonsense=1", "--nonsense")):
        line = [*commands_line(p, simulate, "", []), *unknown.split()]
        yield Case(simulate, f"simulate {unknown}", line, (near,))
    for words in ([], ["simulat"], ["data"], ["models", "put"], ["data", "get"], ["replay"], ["compare"]):
        yield Case("usage", f"usage {' '.join(words) or '(nothing)'}", words, ("help", "required", "invalid", "RUNS"))
    for command, flag, values, names, value in rows:
        position = POSITIONAL.get((command, ""), 0)
        line = commands_line(p, command, flag, values, position) if values else _flagged(p, command, flag)
        if len(values) > 1 and values[1].startswith("--"):
            line = [*commands_line(p, command, flag, values[:1], position), *values[1:]]
        label = f"{command} {flag} {' '.join(values)}"
        for place, path in p.items():
            label = label.replace(path, place)
        yield Case(command, label, line, names, value)


def _flagged(places: dict[str, str], command: str, flag: str) -> list[str]:
    return [*commands_line(places, command, "", []), flag]
