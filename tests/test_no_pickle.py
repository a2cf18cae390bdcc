"""No reader of the package can unpickle, nor read without a cap: its source is searched for whatever could."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import recsim_llm

SOURCE = Path(recsim_llm.__file__).parent

MODULES = {"_pickle", "cloudpickle", "dill", "h5py", "joblib", "jsonpickle", "marshal", "pickle", "shelve", "tables"}
"""Whatever is taken from these unpickles, or may; but for what `HARMLESS` names."""
HARMLESS = {"pickle.dumps", "pickle.UnpicklingError"}
CALLS = {
    "numpy.load": "unpickles when told to, and has no cap",
    "numpy.memmap": "no cap",
    "numpy.lib.format.read_array": "unpickles when told to",
    "torch.load": "unpickles when told to, and has no cap",
    "torch.jit.load": "runs code",
    "torch.hub.load": "runs code",
    "torch.package.PackageImporter": "runs code",
    "pandas.read_pickle": "unpickles",
    "pandas.read_hdf": "unpickles",
    "pandas.eval": "runs code",
    "yaml.load": "runs code",
    "yaml.unsafe_load": "runs code",
    "json.load": "no cap",
    "json.loads": "no cap on the depth",
    "tomllib.load": "no cap",
    "tomllib.loads": "no cap",
    "gzip.open": "unpacks without bound",
    "tarfile.open": "leaves its folder",
    "shutil.unpack_archive": "leaves its folder",
    "zipfile.ZipFile": "unpacks without bound",
    "importlib.import_module": "runs code",
    "eval": "runs code",
    "exec": "runs code",
    "compile": "runs code",
    "__import__": "runs code",
}
METHODS = {"load_hdf5", "from_hdf5", "read_pickle", "read_hdf", "extractall", "load_model_from_pickle"}
"""Names of methods that unpickle or leave their folder, whatever they are called on."""

ALLOWED = {
    (
        "language/backends/ray/ray_engine.py",
        "pickle.loads",
    ): "columns that this package packed and Ray carried, in memory",
    (
        "language/__init__.py",
        "importlib.import_module",
    ): "python:MODULE:FUNCTION, which a user typed",
    ("__init__.py", "importlib.import_module"): "modules of this package, by the names in a table beside it",
    ("cli/command_line.py", "importlib.import_module"): "the module of a command that was parsed, of this package",
    ("cli/verb_files.py", "importlib.import_module"): "modules of this package's own folder of commands",
    (
        "plugins.py",
        "importlib.import_module",
    ): "module:Class, which a user typed or asked to replay, and installed entry points (tests/test_plugins.py)",
    ("untrusted.py", "numpy.lib.format.read_array"): "allow_pickle=False, and capped before",
    ("untrusted.py", "torch.load"): "weights_only=True, and capped before",
    ("untrusted.py", "json.loads"): "here is the cap",
    ("untrusted.py", "tomllib.loads"): "here is the cap",
    ("untrusted.py", "zipfile.ZipFile"): "members are checked first",
    ("fetch.py", "zipfile.ZipFile"): "the member is checked first, and goes where the caller says",
    (
        "language/model_files.py",
        "trust_remote_code",
    ): "False unless the user's line says true; `_check_trust` wants a bool",
    ("language/backends/vllm/vllm_backend.py", "trust_remote_code"): "the same; `load_tokenizer` has checked it before",
    (
        "language/backends/openai/openai_answers.py",
        "json.loads",
    ): "answers that the transport capped; nesting is caught",
    ("language/backends/openai/openai_wire.py", "json.loads"): "our own schemas",
    ("language/backends/vllm/vllm_server.py", "json.loads"): "the same; our own constant",
    ("language/uniform.py", "json.loads"): "our own schemas",
    ("spec.py", "json.loads"): "a line of text that the user typed",
    ("agents/llm/agentcf/agentcf_learning.py", "json.loads"): "what was just dumped",
    ("experiments/training/train_files.py", "json.loads"): "what was just dumped",
    ("runs/manifest.py", "json.loads"): "what was just dumped",
    ("testing/user_model_contract.py", "json.loads"): "what was just dumped",
    ("testing/policy_contract.py", "numpy.load"): "allow_pickle=False, of what was just saved",
}


def dangers(source: str) -> Iterator[str]:
    """Dotted names of what a module's source takes from dangerous places, calls or not."""
    tree = ast.parse(source)
    names: dict[str, str] = {}  # as the module calls it, to what it is
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                names[each.asname or each.name.split(".")[0]] = each.name if each.asname else each.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    yield from (name for name in names.values() if name in CALLS or _is_dangerous(name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            dotted = _dotted(node, names)
            if dotted in CALLS or _is_dangerous(dotted):
                yield dotted
            elif node.attr in METHODS:
                yield node.attr
        elif isinstance(node, ast.Name) and node.id in CALLS and node.id not in names:
            yield node.id
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            module = _dotted(node.args[0], names)
            yield from [f"{module}.*"] if module in MODULES else []
        elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "trust_remote_code", "weights_only"):
            wanted = node.arg == "weights_only"
            if not (isinstance(node.value, ast.Constant) and node.value.value is wanted):
                yield node.arg


def _is_dangerous(dotted: str) -> bool:
    root, dot, _ = dotted.partition(".")
    return root in MODULES and bool(dot) and dotted not in HARMLESS


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, "?") if isinstance(node, ast.Name) else "?"


def test_nothing_unpickles_or_reads_without_a_cap() -> None:
    found = {
        (path.relative_to(SOURCE).as_posix(), name)
        for path in sorted(SOURCE.rglob("*.py"))
        for name in dangers(path.read_text("utf-8"))
    }
    assert len(list(SOURCE.rglob("*.py"))) > 200
    assert not found - set(ALLOWED), "read it by recsim_llm.untrusted, or say in ALLOWED why it is harmless"
    assert not set(ALLOWED) - found, "no longer needed: remove it from ALLOWED"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import pickle\npickle.loads(b'')", "pickle.loads"),
        ("import pickle as p\np.Unpickler(f).load()", "pickle.Unpickler"),
        ("from pickle import load as read\nread(f)", "pickle.load"),
        ("import pickle\ngetattr(pickle, 'lo' + 'ads')", "pickle.*"),
        ("import numpy as np\nnp.load(p)", "numpy.load"),
        ("import numpy as np\nnp.load(p, allow_pickle=True)", "allow_pickle"),
        ("from numpy import load\nload(p)", "numpy.load"),
        ("def f():\n    import torch\n    torch.load(p)", "torch.load"),
        ("import torch as t\nread = t.load", "torch.load"),
        ("torch.load(p, weights_only=False)", "weights_only"),
        ("Auto.from_pretrained(p, trust_remote_code=asked)", "trust_remote_code"),
        ("from tianshou.data import ReplayBuffer\nReplayBuffer.load_hdf5(p)", "load_hdf5"),
        ("import h5py\nh5py.File(p)", "h5py.File"),
        ("import joblib\njoblib.load(p)", "joblib.load"),
        ("import shelve\nshelve.open(p)", "shelve.open"),
        ("import pandas as pd\npd.read_pickle(p)", "pandas.read_pickle"),
        ("import json\njson.loads(path.read_text())", "json.loads"),
        ("import tomllib\ntomllib.load(f)", "tomllib.load"),
        ("import zipfile\nzipfile.ZipFile(p).extractall()", "extractall"),
        ("eval(text)", "eval"),
    ],
)
def test_the_search_finds(source: str, name: str) -> None:
    assert name in set(dangers(source))


def test_the_search_lets_harmless_code_pass() -> None:
    harmless = [
        "import json\njson.dumps({})",
        "from pickle import UnpicklingError\ntry:\n    pass\nexcept UnpicklingError:\n    pass",
        "import re\nre.compile('a')",
        "class A:\n    def load(self): ...\nA().load()",
        "Auto.from_pretrained(p, trust_remote_code=False)",
        "net.eval()",
    ]
    assert [list(dangers(source)) for source in harmless] == [[]] * len(harmless)
