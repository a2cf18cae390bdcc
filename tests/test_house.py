"""Rules of the package's shape, so that a reader finds a thing by its name (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

import recsim_llm

PACKAGE = Path(recsim_llm.__file__).parent
MOST = 12
TWICE: set[str] = set()
"""File names that more than one folder may have."""


def modules() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if not path.name.startswith("__")]


def test_a_folder_has_at_most_twelve_modules():
    sizes = Counter(path.parent.relative_to(PACKAGE).as_posix() for path in modules())
    assert {folder: size for folder, size in sizes.items() if size > MOST} == {}


def test_file_names_tell_without_their_folder():
    names = Counter(path.name for path in modules())
    assert {name for name, count in names.items() if count > 1} <= TWICE


def test_class_names_tell_without_their_module():
    trees = list(parsed().values())
    names = Counter(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert sum(names.values()) > 400
    assert {name for name, count in names.items() if count > 1} == set()


SEPARATORS = {":", "?", "&", "="}
SPLITTERS = {
    "recsim_llm/spec.py": "the grammar",
    "recsim_llm/plugins.py": "module:Class, after `spec`",
    "recsim_llm/data/worlds/synthetic.py": "numbers after the name, split by `spec`",
    "recsim_llm/data/formats/agentcf_release.py": "headers of files",
    "recsim_llm/data/formats/atomic.py": "headers of files",
    "recsim_llm/data/formats/coat.py": "headers of files",
    "recsim_llm/agents/llm/text_gate.py": "titles in what a model wrote",
    "recsim_llm/agents/society/social_turns.py": "lines that a model wrote",
    "recsim_llm/policies/llmrank/llmrank_ways.py": "lines that a model wrote",
}
"""Modules that may split text at the signs of specs, and which text it is."""


def test_specs_are_split_in_one_place():
    found = set()
    for name, tree in parsed().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                sign = node.args[0]
                splits = node.func.attr in {"partition", "rpartition", "split", "rsplit"}
                if splits and isinstance(sign, ast.Constant) and sign.value in SEPARATORS:
                    found.add(f"recsim_llm/{name}")
    assert found == set(SPLITTERS)


def test_every_folder_says_what_it_is():
    for folder in {path.parent for path in modules()}:
        text = (folder / "__init__.py").read_text(encoding="utf-8")
        assert text.startswith('"""'), folder


@cache
@lru_cache(maxsize=1)
def parsed() -> dict[str, ast.Module]:
    """The package's modules by their path in it."""
    paths = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in paths.items()}


def named(node: ast.AST) -> set[str]:
    """Names in an expression: of `a.B` both."""
    found = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return found | {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}


def names_in(tree: ast.Module) -> set[str]:
    """All names that a module reads, imports or gives to classes."""
    imported = {each.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for each in node.names}
    return named(tree) | imported | {node.name for node in classes(tree)}


def classes(tree: ast.AST) -> list[ast.ClassDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def bases(node: ast.ClassDef) -> set[str]:
    return set().union(*map(named, node.bases))


def methods(node: ast.ClassDef) -> set[str]:
    return {each.name for each in node.body if isinstance(each, ast.FunctionDef)}


def reads(node: ast.AST, owner: str = "", function: str = "") -> Iterator[tuple[str, str, str]]:
    """Attributes that are read: the class and the function in which, and the name."""
    owner = node.name if isinstance(node, ast.ClassDef) else owner
    function = node.name if isinstance(node, ast.FunctionDef) else function
    if isinstance(node, ast.Attribute):
        yield owner, function, node.attr
    for child in ast.iter_child_nodes(node):
        yield from reads(child, owner, function)


CALLED_UNSEEN = {
    "Inhabitants.advertise": "experiments/simulation/interventions/intervene.py, as `society.inhabitants`",
    "Memory.describe": "agents/llm/agent_users.py, as `kind.memory`",
    "Memory.forget": "agents/llm/agent_users.py, as `kind.memory`",
    "Way.questions": "policies/llmrank/llmrank_policy.py, out of the table WAYS",
    "Way.scores": "policies/llmrank/llmrank_policy.py, out of the table WAYS",
    "Way.sensitivity": "policies/llmrank/llmrank_policy.py, out of the table WAYS",
}
"""Methods of protocols that are called in a module which names neither the protocol nor a class of it."""


def uncalled(trees: dict[str, ast.Module]) -> set[str]:
    """Methods of protocols that no module calls which names the protocol or a class with all of its methods.

    A class that passes a call on, in a method of the same name, is no caller.
    """
    found = [node for tree in trees.values() for node in classes(tree)]
    modules = [(names_in(tree), set(reads(tree))) for name, tree in trees.items() if not name.startswith("testing/")]
    missing = set()
    for protocol in (node for node in found if "Protocol" in bases(node)):
        kin = {node.name for node in found if methods(protocol) and methods(protocol) <= methods(node)}
        while more := {node.name for node in found if bases(node) & kin} - kin:
            kin |= more
        near = set().union(*(read for names, read in modules if names & kin))
        called = {name for owner, function, name in near if owner not in kin or function != name}
        missing |= {f"{protocol.name}.{name}" for name in methods(protocol) - called}
    return missing


def test_every_method_of_a_protocol_has_a_caller():
    assert uncalled(parsed()) == set(CALLED_UNSEEN)
    passed_on = """
class Users(Protocol):
    def state(self): ...
    def react(self): ...
class Wrapped:
    def state(self): return self.inner.state()
    def react(self): return self.inner.react()
def ask(users: Users): users.react()
"""
    of_another_class = "def save(policy): policy.state()"
    trees = {"a.py": ast.parse(passed_on), "b.py": ast.parse(of_another_class)}
    assert uncalled(trees) == {"Users.state"}


def people(trees: dict[str, ast.Module]) -> set[str]:
    """Classes of `agents` that react or recall, themselves or by a base: users, kinds and memories."""
    found = [node for name, tree in trees.items() if name.startswith("agents/") for node in classes(tree)]
    real = [node for node in found if "Protocol" not in bases(node)]
    names = {node.name for node in real if {"react", "recall"} & methods(node)}
    while more := {node.name for node in real if bases(node) & names} - names:
        names |= more
    return names


def test_nobody_outside_agents_asks_for_the_class_of_people():
    trees = parsed()
    known = people(trees)
    assert {"StatisticalUsers", "HybridInhabitants", "LLMUsers", "AgentUsers", "RecAgent", "ThreeStageMemory"} <= known
    outside = [
        (name, node) for name, tree in trees.items() if not name.startswith("agents/") for node in ast.walk(tree)
    ]
    asked = {
        (name, *sorted(named(node.args[1]) & known))
        for name, node in outside
        if isinstance(node, ast.Call) and named(node.func) & {"isinstance", "issubclass"}
        if named(node.args[1]) & known
    }
    assert asked == set()


DRAWS_WITHOUT_A_STREAM = {
    "experiments/training/offline_log.py": (1, "the seed of an environment for each episode"),
    "experiments/training/train_world.py": (
        2,
        "seeds of environments; a session's key, which LEAVE draws from",
    ),
    "experiments/training/train.py": (2, "the seed of torch in each segment"),
    "language/backends/transformers/text_sampling.py": (1, "a token of a text: the prompt's seed is its own"),
    "language/backends/openai/openai_transport.py": (1, "how long to wait before asking again: no figure has it"),
}
"""Draws that named no stream before there was this rule, how many, and what for: a name would be another draw."""


def test_every_draw_names_its_stream():
    unnamed = Counter(
        name
        for name, tree in parsed().items()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        if call.func.id in {"mix", "mix_one", "uniforms"} and name != "seeding.py"
        if not any("Stream" in named(each) for each in call.args) and "key" not in {k.arg for k in call.keywords}
    )
    assert unnamed == {name: count for name, (count, _) in DRAWS_WITHOUT_A_STREAM.items()}
