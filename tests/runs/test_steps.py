from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from some_runs import make_steps, quick

from recsim_llm.errors import RecordingError
from recsim_llm.runs.run_files import parquet_bytes
from recsim_llm.runs.steps import COLUMNS, StepBatch, content_hash, first_difference

ints = st.integers(-(2**63), 2**63 - 1)
NUMERIC = COLUMNS[:-1]


@st.composite
def step_batches(draw):
    S, K, R = draw(st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3)))

    def floats(*shape):
        return draw(hnp.arrays(np.float64, shape, elements=st.floats(width=64)))

    def flags(*shape):
        return draw(hnp.arrays(np.bool_, shape))

    places = draw(st.lists(st.tuples(ints, ints), min_size=S, max_size=S, unique=True))
    session, page = np.array(places, dtype=np.int64).T.copy()
    return StepBatch(
        session,
        draw(hnp.arrays(np.int64, S)),
        page,
        draw(hnp.arrays(np.int64, (S, K))),
        floats(S, K),
        floats(S, K, R),
        flags(S, K),
        floats(S, K),
        floats(S),
        flags(S),
        flags(S),
        floats(S),
        tuple(draw(st.one_of(st.just(()), st.lists(st.text(st.characters(codec="utf-8")), min_size=S, max_size=S)))),
    )


def same_bits(a, b):
    return all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in NUMERIC)


@quick
@given(step_batches())
def test_tables_keep_every_bit(steps):
    again = StepBatch.from_table(pa.parquet.read_table(pa.BufferReader(parquet_bytes(steps.to_table()))))
    assert same_bits(steps, again)
    assert again.thoughts == (steps.thoughts if any(steps.thoughts) else ())
    assert again.digest() == steps.digest()
    assert first_difference(steps, again) is None


@quick
@given(step_batches(), st.randoms(), st.data())
def test_digest_knows_neither_order_nor_parts(steps, random, data):
    order = list(range(len(steps)))
    random.shuffle(order)
    shuffled = steps.take(np.array(order))
    assert shuffled.digest() == steps.digest()
    assert first_difference(steps, shuffled) is None
    cut = data.draw(st.integers(0, len(steps)))
    rows = np.arange(len(steps))
    assert content_hash([shuffled.take(rows[:cut]), shuffled.take(rows[cut:])]) == steps.digest()


@quick
@given(step_batches(), st.sampled_from(NUMERIC), st.data())
def test_one_flipped_bit_changes_digest_and_is_found(steps, name, data):
    array = getattr(steps, name).copy()
    if array.dtype == np.bool_:
        index = data.draw(st.integers(0, array.size - 1))
        array.reshape(-1)[index] ^= True
    else:
        index = data.draw(st.integers(0, array.size - 1))
        array.view(np.int64).reshape(-1)[index] ^= 1 << data.draw(st.integers(0, 62))
    changed = dataclasses.replace(steps, **{name: array})
    # Rows that only changed places are not a change.
    assume(len(set(zip(changed.session.tolist(), changed.page.tolist(), strict=True))) == len(steps))
    assert changed.digest() != steps.digest()
    said = first_difference(steps, changed)
    assert said is not None
    if name not in {"session", "page"}:
        row = index // (array.size // len(steps))
        assert said.startswith(f"session {steps.session[row]}, page {steps.page[row]}: {name}")


def test_difference_names_the_first_place_and_both_values():
    steps = make_steps(page=2)
    watch, items = steps.watch.copy(), steps.items.copy()
    watch[3, 0], items[1, 2], items[3, 1] = 0.5, 99, 98
    changed = dataclasses.replace(steps, watch=watch, items=items)
    wanted = f"session 1, page 2: items, slot 2: {steps.items[1, 2]} recorded, 99 now"
    assert first_difference(steps, changed) == wanted


def test_difference_names_thoughts_and_missing_rows():
    steps = make_steps(thoughts=True)
    other = dataclasses.replace(steps, thoughts=("Hm.", *steps.thoughts[1:]))
    assert first_difference(steps, other) == "session 0, page 0: thoughts: 'Ümlaut 0.0' recorded, 'Hm.' now"
    fewer = steps.take(np.array([0, 1, 3]))
    assert first_difference(steps, fewer) == "session 2, page 0: recorded, but not there now"
    assert first_difference(fewer, steps) == "session 2, page 0: there now, but not recorded"
    assert first_difference(steps, steps.take(np.array([0, 1, 2]))) == "session 3, page 0: recorded, but not there now"
    assert first_difference(steps, make_steps(page_size=2)) == (
        "3 items a page and 5 rating levels recorded, 2 and 5 now"
    )


def test_thoughts_that_utf8_cannot_hold_are_stored_and_compared_as_stored():
    steps = dataclasses.replace(make_steps(sessions=1), thoughts=("half \ud83d",))
    again = StepBatch.from_table(steps.to_table())
    assert again.thoughts == ("half ?",)
    assert again.digest() == steps.digest()
    assert first_difference(again, steps) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("watch", np.zeros((4, 2))), ("user", np.zeros(4)), ("rating_probs", np.zeros((4, 3))), ("thoughts", ("a",))],
)
def test_arrays_that_do_not_fit_are_refused(field, value):
    with pytest.raises(RecordingError, match=field):
        dataclasses.replace(make_steps(), **{field: value})


def test_foreign_tables_are_refused():
    with pytest.raises(RecordingError, match="rating_probs"):
        StepBatch.from_table(pa.table({"a": [1]}))
    with pytest.raises(RecordingError, match="columns: leave"):
        StepBatch.from_table(make_steps().to_table().drop_columns(["leave"]))
