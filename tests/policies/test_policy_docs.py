"""The code of docs/policies.md runs, and the policy it defines keeps the contract."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recsim_llm.policies import POLICIES
from recsim_llm.testing.policy_contract import PolicyContract

PAGE = Path(__file__).parents[2] / "docs" / "policies.md"


@pytest.fixture(scope="module")
def names():
    """What the code blocks of the page define, run in order."""
    before = dict(POLICIES)
    scope: dict[str, object] = {}
    try:
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL):
            exec(compile(block, str(PAGE), "exec"), scope)
    finally:
        POLICIES.clear()
        POLICIES.update(before)
    return scope


class TestTheExample(PolicyContract):
    name = "co-watched"

    @pytest.fixture(autouse=True)
    def _registered(self, names, monkeypatch):
        monkeypatch.setitem(POLICIES, self.name, names["CoWatched"])


def test_the_contract_of_the_page_is_for_the_policy_of_the_page(names):
    assert names["TestCoWatched"].name == names["CoWatched"].name


def test_every_policy_has_a_section_or_a_page():
    headings = re.findall(r"^## (\S+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    pages = [path.stem for path in PAGE.with_suffix("").glob("*.md")]
    assert set(POLICIES) <= {*headings, *pages}


def test_the_page_names_the_defaults_of_the_code():
    text = PAGE.read_text(encoding="utf-8")
    for name, policy in POLICIES.items():
        own = PAGE.with_suffix("") / f"{name}.md"
        if not hasattr(policy, "learn_from") or (own.exists() and f"\n## {name}\n" not in text):
            continue
        section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for option, value in policy.options().items():
            default = (value or "none") if isinstance(value, str) else f"{value:g}"
            assert f"| `{option}` | {default} |" in section
