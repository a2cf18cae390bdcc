"""AgentCF's released format: histories, candidates and memories are read; what is missing or broken is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsim_llm.data import load_dataset
from recsim_llm.data.formats.agentcf_release import is_agentcf_folder, load_agentcf
from recsim_llm.data.formats.ranking_task import CANDIDATES, draw_task
from recsim_llm.errors import ConfigError, DataError

RELEASED = Path(__file__).parents[2].parent / "shared" / "data" / "agentcf"
HEAD = "user_id:token\titem_id_list:token_seq\titem_id:token\n"


def release(root, name="Tiny-2-user-dense"):
    """Two users: 9 took 1, 2, 3 and then 4 (in validation) and 5; 10 took 2, 3, 6 and then 1. Items 1 to 14."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / f"{name}.train.inter").write_text(HEAD + "9\t1\t2\n9\t1 2\t3\n10\t2\t3\n10\t2 3\t6\n")
    (folder / f"{name}.test.inter").write_text(HEAD + "9\t1 2 3 4\t5\n10\t2 3 6\t1\n")
    (folder / f"{name}.random").write_text("9\t5 6 7 8 9 10 11 12 13 14 1\n10\t4 5 6 7 8 9 10 11 12 13\n")
    items = "".join(f"{i}\tTitle {i} &amp; co\tRock;Progressive\n" for i in range(1, 16))
    (folder / "Tiny.item").write_text("item_id:token\ttitle:token_seq\tcategory:token_seq\n" + items)
    (folder / "final_user_memories.tsv").write_text("user_id:token\tuser_description:token_seq\n9\tI like rock. \n")
    (folder / "item_memories_dense.jsonl").write_text(json.dumps({"item": "4", "memories": ["start", "It rocks."]}))
    return folder


def test_the_released_format_is_read(tmp_path):
    folder = release(tmp_path)
    assert is_agentcf_folder(folder)
    assert not is_agentcf_folder(tmp_path)
    read = load_agentcf(folder)
    task, raw = read.task, read.task.dataset.catalogue.raw_ids
    assert raw == tuple(str(i) for i in range(1, 15)), "items that nobody meets are left out"
    assert [p.raw_id for p in task.dataset.people] == ["9", "10"]
    assert task.dataset.catalogue[3].title == "Title 4 & co"
    assert task.dataset.catalogue[3].genres == ("Rock", "Progressive")
    log = [(raw[i], t) for u, i, t in zip(task.log.users, task.log.items, task.log.times, strict=True) if u == 0]
    assert log == [("1", 1), ("2", 2), ("3", 3)], "the validation item is no part of what is learned from"
    assert [raw[i] for i in task.histories[0]] == ["1", "2", "3", "4"]
    assert [raw[i] for i in task.candidates[0]] == ["6", "7", "8", "9", "10", "11", "12", "13", "14", "5"]
    assert [raw[t] for t in task.truths] == ["5", "1"]
    assert read.users == {0: ["I like rock."]}
    assert read.items == {3: ["It rocks."]}
    assert task.first(1).users == (0,)
    assert len(task.first(0).users) == 2


def test_titles_come_from_published_texts_where_there_is_no_item_file(tmp_path):
    folder = release(tmp_path)
    (folder / "Tiny.item").unlink()
    (folder / "item_memories_dense.jsonl").unlink()
    texts = [f"{i}\t'It''s {i}' is a blend of jazz, and of 'more'.\n" for i in range(1, 15)]
    head = "item_id:token\tpretrained_item_description:token_seq\n[PAD]\t'PAD' is a blend.\n"
    (folder / "CDs.pretrained_item").write_text(head + "".join(texts))
    assert load_agentcf(folder).task.dataset.catalogue[0].title == "It''s 1"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("Tiny-2-user-dense.random", "9 5 6 7\n", "random, line 1: a user, a tab and at least 10 items"),
        ("Tiny-2-user-dense.random", "9\t" + "5 " * 10 + "\n", "user 10 has no row in the .random file"),
        ("Tiny-2-user-dense.test.inter", "user_id:token\titem_id:token\n9\t5\n", "column 'item_id_list' is missing"),
        ("Tiny-2-user-dense.test.inter", HEAD + "9\t1\t5\n9\t2\t5\n", "a user has two rows"),
        ("Tiny-2-user-dense.train.inter", HEAD + "9\t1\t2\n", "user 10 has no row in the .train.inter file"),
        ("Tiny.item", "item_id:token\ttitle:token_seq\n1\tA\n", "item 2 and 12 others have no title"),
        ("item_memories_dense.jsonl", "{", "item_memories_dense.jsonl, line 1: no item with its memories"),
    ],
)
def test_what_is_broken_is_named(tmp_path, file, text, message):
    folder = release(tmp_path)
    (folder / file).write_text(text)
    with pytest.raises(DataError, match=message):
        load_agentcf(folder)


def test_a_missing_file_is_named(tmp_path):
    folder = release(tmp_path)
    (folder / "Tiny-2-user-dense.train.inter").unlink()
    with pytest.raises(DataError, match=r"one \*.train.inter is needed, there are: none"):
        load_agentcf(folder)


def test_a_task_is_drawn_from_ratings_without_touching_what_is_known():
    data = load_dataset("synthetic")
    task, again, other = draw_task(data, 3), draw_task(data, 3), draw_task(data, 4)
    assert task.candidates == again.candidates != other.candidates
    rated = {u: set(data.ratings.items[data.ratings.users == u].tolist()) for u in task.users}
    for user, history, truth, row in zip(task.users, task.histories, task.truths, task.candidates, strict=True):
        assert len(set(row)) == CANDIDATES
        assert row[-1] == truth
        assert not set(row[:-1]) & rated[user], "the others were never rated by the user"
        assert truth in rated[user]
        assert truth not in history
        assert set(history) == set(task.log.items[task.log.users == user].tolist())
    with pytest.raises(ConfigError, match="nobody has liked"):
        draw_task(_without_later_likes(data))


def _without_later_likes(data):
    log = data.ratings
    first = np.zeros(len(log), dtype=bool)
    for rows in log.by_user():
        first[rows[:3]] = True  # fewer than five ratings: nothing is held back
    return replace(data, ratings=log.take(first))


@pytest.mark.skipif(not RELEASED.exists(), reason="AgentCF's release is not here")
@pytest.mark.parametrize(("split", "items", "described"), [("dense", 269, 188), ("sparse", 704, 0)])
def test_both_released_splits_are_read(split, items, described):
    read = load_agentcf(RELEASED / f"CDs-100-user-{split}")
    assert len(read.task.users) == len(read.users) == 100
    assert len(read.task.dataset.catalogue) == items
    assert len(read.items) == described
    assert len(read.task.log) == 600
    assert all(item.title for item in read.task.dataset.catalogue)
