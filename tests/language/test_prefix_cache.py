from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsim_llm.language.uniform import UniformLLM
from recsim_llm.language.wrappers.prefix_cache import PrefixCache, PrefixMeter
from recsim_llm.testing.llm_contract import LLMContract
from recsim_llm.testing.scripted import hash_choice_llm
from recsim_llm.types import Prompt


class TestContract(LLMContract):
    def make(self):
        return PrefixMeter(hash_choice_llm(0))


@given(st.lists(st.text(alphabet="ab", max_size=400), max_size=12))
def test_a_share_is_the_longest_shared_prefix_in_whole_blocks(texts):
    cache, before = PrefixCache(), []
    for text in texts:
        shared = max((_common(text, other) for other in before), default=0) // 64 * 64
        assert cache.read(text) == pytest.approx(shared / len(text) if text else 0.0)
        before.append(text)


def _common(one: str, other: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def test_a_full_cache_forgets_what_was_used_longest_ago():
    cache = PrefixCache(capacity=32)  # two blocks
    a, b, c = "a" * 64, "b" * 64, "c" * 64
    assert [cache.read(text) for text in (a, b, a, c, a, b)] == [0, 0, 1, 0, 1, 0]


def test_prompts_of_one_agent_share_its_context():
    llm = PrefixMeter(UniformLLM())
    system, context = "s" * 320, "c" * 640
    llm.generate([Prompt(system, context, f"{film}?", ("Yes", "No")) for film in range(10)])
    usage = llm.usage
    assert 0.8 < usage.repeated_tokens / usage.prompt_tokens < 0.9
    before = usage.repeated_tokens
    llm.generate([Prompt("other", "else", "0?", ("Yes", "No"))])
    assert usage.repeated_tokens == before
