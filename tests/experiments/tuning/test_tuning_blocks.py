"""Blocks of attention: each token sees what stands before it in its context and its own question, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsim_llm.errors import LLMError
from recsim_llm.experiments.tuning.blocks import Block, blocks_of, use_blocks

torch = pytest.importorskip("torch")
ROWS = st.lists(st.tuples(st.integers(1, 200), st.lists(st.integers(1, 150), max_size=5)), min_size=1, max_size=3)


def _seen(blocks: tuple[Block, ...], size: int) -> np.ndarray:
    seen, end = np.zeros((size, size), dtype=np.bool_), 0
    for block in blocks:
        assert block.own.start == end, "tokens keep their order"
        end = block.own.stop
        columns = [*range(block.stem.start, block.stem.stop), *range(block.own.start, block.own.stop)]
        shape = (end - block.own.start, len(columns))
        sees = np.tril(np.ones(shape)) > 0 if block.mask is None else block.mask[0, 0].numpy() == 0
        assert sees.shape == shape
        seen[block.own.start : end, columns] = sees
    assert end == size
    return seen


@given(ROWS)
def test_a_token_sees_its_context_and_its_own_question(rows: list[tuple[int, list[int]]]) -> None:
    branches = [[0] * stem + [b for b, size in enumerate(sizes, 1) for _ in range(size)] for stem, sizes in rows]
    row = np.repeat(np.arange(len(branches)), [len(b) for b in branches])
    branch, order = np.concatenate(branches), np.arange(len(row))
    wanted = (row[:, None] == row) & (order[:, None] >= order) & ((branch == 0) | (branch[:, None] == branch))
    np.testing.assert_array_equal(_seen(blocks_of(branches, "cpu", torch.float32), len(row)), wanted)


def test_a_model_with_an_attention_of_its_own_is_refused() -> None:
    pytest.importorskip("transformers")
    model = SimpleNamespace(
        config=SimpleNamespace(_attn_implementation="eager"), _can_set_attn_implementation=lambda: False
    )
    with pytest.raises(LLMError, match="cannot be tuned"):
        use_blocks(model)
