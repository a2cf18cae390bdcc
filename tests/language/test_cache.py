import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsim_llm.errors import LLMError, SetAsideWarning
from recsim_llm.language import CachedLLM, UniformLLM
from recsim_llm.language.wrappers.cache import _chunks
from recsim_llm.prompt_key import prompt_keys as _keys
from recsim_llm.testing.llm_contract import LLMContract
from recsim_llm.testing.scripted import FunctionLLM, hash_choice_llm
from recsim_llm.types import EMPTY, Completion, Prompt

YES_NO = ("Yes", "No")


def ask(question, context="context", **fields):
    return Prompt("system", context, question, YES_NO, **fields)


class Recorder:
    """Counts batches, and answers by hash."""

    def __init__(self, fail_at=None):
        self._llm, self.batches, self._fail_at = hash_choice_llm(), [], fail_at
        self.usage = self._llm.usage
        self.name = "recorder"

    def generate(self, prompts):
        self.batches.append(list(prompts))
        if len(self.batches) == self._fail_at:
            raise LLMError("broken")
        return self._llm.generate(prompts)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.sqlite"


class TestContract(LLMContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.path = tmp_path / "answers.sqlite"
        self.open = []
        yield
        for each in self.open:
            each.close()

    def make(self):
        self.open.append(CachedLLM(hash_choice_llm(), self.path, chunk_size=3))
        return self.open[-1]


texts = st.text(alphabet='ab |1 2"', max_size=4)
prompts = st.builds(
    Prompt,
    texts,
    texts,
    texts,
    st.lists(texts, max_size=3).map(tuple),
    texts,
    st.integers(1, 3),
    st.sampled_from([0.0, 1.0]),
    st.integers(0, 2),
    st.integers(1, 3),
    about=st.just(EMPTY),  # no part of a question's identity
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(texts, prompts), min_size=2, max_size=20))
def test_keys_are_equal_exactly_where_prompts_and_names_are(pairs):
    keys = [_keys(name, [prompt])[0] for name, prompt in pairs]
    for pair, key in zip(pairs, keys, strict=True):
        assert [p == pair for p in pairs] == [k == key for k in keys]


@settings(max_examples=100, deadline=None)
@given(st.lists(prompts, max_size=20))
def test_a_key_does_not_depend_on_the_prompts_around_it(batch):
    assert _keys("name", batch) == [_keys("name", [prompt])[0] for prompt in batch]


def test_an_integer_temperature_is_the_same_question():
    assert _keys("n", [ask("q", temperature=1)]) == _keys("n", [ask("q", temperature=1.0)])


@given(st.lists(st.sampled_from("abc"), max_size=200), st.integers(1, 9))
@settings(deadline=None)
def test_chunks_are_the_batch_in_order_and_bounded(contexts, size):
    batch = [ask("q", context) for context in contexts]
    chunks = list(_chunks(batch, size))
    assert [p for chunk in chunks for p in chunk] == batch
    assert all(0 < len(chunk) <= 4 * size for chunk in chunks)
    for left, right in zip(chunks, chunks[1:], strict=False):
        assert left[-1][:2] != right[0][:2] or len(left) == 4 * size


def test_second_time_nothing_is_asked_even_by_a_new_object(path):
    batch = [ask(f"q{i % 7}") for i in range(20)]
    first, second = Recorder(), Recorder()
    with_first = CachedLLM(first, path)
    answers = with_first.generate(batch)
    assert [len(b) for b in first.batches] == [7]
    assert (with_first.usage.duplicates, with_first.usage.calls) == (13, 7)
    with_first.close()
    with_second = CachedLLM(second, path)
    assert with_second.generate(batch) == answers
    assert second.batches == []
    assert with_second.usage.cache_hits == 7
    with_second.close()


def test_every_field_and_token_counts_survive(path):
    answer = Completion("text \x00 \U0001f600", (-0.1, -1e-300, float("-inf")), 7, 3, bounds=(0, 2))
    for _ in range(2):
        cached = CachedLLM(FunctionLLM(lambda prompt: answer), path)
        assert cached.generate([ask("q")]) == [answer]
        cached.close()


def test_a_page_of_labels_is_kept_whole_and_apart_from_shorter_ones(path):
    pages = [ask("page", slots=slots) for slots in (1, 2, 5)]
    answers = hash_choice_llm().generate(pages)
    for calls in (3, 0):
        cached = CachedLLM(hash_choice_llm(), path)
        assert cached.generate(pages) == answers
        assert cached.usage.calls == calls
        cached.close()


def test_another_model_is_another_answer(path):
    one, two = CachedLLM(hash_choice_llm(1), path), CachedLLM(hash_choice_llm(2), path)
    assert one.generate([ask("q")]) != two.generate([ask("q")])
    one.close()
    two.close()


def test_what_was_answered_before_a_failure_is_kept_and_the_lost_batch_is_asked_again(path):
    batch = [ask(f"q{i}", f"c{i}") for i in range(10)]
    broken, whole, straight = Recorder(fail_at=2), Recorder(), Recorder()
    first = CachedLLM(broken, path, chunk_size=4)
    with pytest.raises(LLMError, match="broken"):
        first.generate(batch)
    first.close()
    second = CachedLLM(whole, path, chunk_size=4)
    answers = second.generate(batch)
    second.close()
    assert answers == straight.generate(batch)
    assert whole.batches == [broken.batches[1], batch[8:]]


def test_first_answer_wins(path):
    late = CachedLLM(UniformLLM(), path)

    class Overtaken(UniformLLM):
        def generate(self, prompts):
            late.generate(prompts)  # another process commits while this one waits for its model
            return [Completion("No", (-9.0, -0.1)) for _ in prompts]

    slow = CachedLLM(Overtaken(), path)
    assert slow.generate([ask("q")]) == late.generate([ask("q")])
    slow.close()
    late.close()


@pytest.mark.parametrize("content", [b"this is no database " * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_damaged_file_is_set_aside(path, content):
    path.write_bytes(content)
    with pytest.warns(SetAsideWarning, match=r"answers\.sqlite cannot be used.*answers\.sqlite\.aside1"):
        llm = CachedLLM(UniformLLM(), path)
    assert len(llm.generate([ask("q")])) == 1
    llm.close()
    assert path.with_name("answers.sqlite.aside1").read_bytes() == content


def _junk_pages(path):
    """Overwrites every page but the first, which opening looks at."""
    page = 4096
    content = path.read_bytes()
    path.write_bytes(content[:page] + b"\xff" * (len(content) - page))


def _junk_row(path):
    db = sqlite3.connect(path)
    db.execute("UPDATE answers SET logprobs = x'00112233'")
    db.commit()
    db.close()


def _junk_text(path):
    db = sqlite3.connect(path)
    db.execute("UPDATE answers SET text = CAST(x'ff' AS TEXT)")
    db.commit()
    db.close()


@pytest.mark.parametrize("damage", [_junk_pages, _junk_row, _junk_text])
def test_damage_that_shows_only_when_reading_costs_answers_but_not_the_run(path, damage):
    prompts = [ask(f"question {i}", context="c" * 3000) for i in range(40)]
    first = CachedLLM(hash_choice_llm(), path)
    wanted = first.generate(prompts)
    first.close()
    damage(path)
    llm = CachedLLM(hash_choice_llm(), path)
    with pytest.warns(SetAsideWarning, match=r"answers\.sqlite cannot be used.*aside1.*a new one was begun"):
        assert llm.generate(prompts) == wanted
    assert llm.usage.calls == 40
    assert llm.generate(prompts) == wanted
    assert llm.usage.calls == 40, "the new file holds the answers"
    llm.close()


def test_damage_that_shows_when_writing_loses_no_paid_answer(path):
    llm, asked = CachedLLM(hash_choice_llm(), path), []
    store = llm._store

    def broken_once(keys, answers):
        asked.append(len(keys))
        if len(asked) == 1:
            raise sqlite3.DatabaseError("database disk image is malformed")
        return store(keys, answers)

    llm._store = broken_once
    with pytest.warns(SetAsideWarning):
        llm.generate([ask("q")])
    assert (llm.usage.calls, asked) == (1, [1, 1])
    llm.close()


def test_answers_that_do_not_say_what_was_seen_are_set_aside(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE answers (key BLOB PRIMARY KEY, text TEXT, logprobs BLOB, a INT, b INT) WITHOUT ROWID")
        db.execute("PRAGMA user_version=1")
    with pytest.warns(SetAsideWarning, match=r"format 1, and this version reads format 2.*aside1"):
        cached = CachedLLM(hash_choice_llm(), path)
    assert cached.generate([ask("q")]) == hash_choice_llm().generate([ask("q")])
    cached.close()


def test_another_format_is_set_aside_each_time_under_another_name(path):
    for number in (1, 2):
        path.unlink(missing_ok=True)
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version=99")
        db.close()
        with pytest.warns(SetAsideWarning, match=f"format 99.*aside{number}"):
            CachedLLM(UniformLLM(), path).close()
        assert path.with_name(f"answers.sqlite.aside{number}").exists()


def test_what_a_model_refuses_is_not_kept(path):
    class Refusing(UniformLLM):
        def generate(self, prompts):
            answers = super().generate(prompts)
            return [
                Completion("", refused="no") if "poison" in p.question else a
                for p, a in zip(prompts, answers, strict=True)
            ]

    prompts = [ask("q"), ask("poison"), ask("r")]
    for asked in (3, 1):
        llm = CachedLLM(Refusing(), path)
        answers = llm.generate(prompts)
        assert [bool(a.refused) for a in answers] == [False, True, False]
        assert llm.usage.calls == asked
        llm.close()


def test_a_missing_folder_is_explained(tmp_path):
    with pytest.raises(LLMError, match="folder"):
        CachedLLM(UniformLLM(), tmp_path / "none" / "answers.sqlite")


def test_a_wrong_number_of_answers_is_an_error_and_is_not_stored(path):
    class Short(UniformLLM):
        def generate(self, prompts):
            return super().generate(prompts)[1:]

    cached = CachedLLM(Short(), path)
    with pytest.raises(LLMError, match="returned 1"):
        cached.generate([ask("a"), ask("b")])
    cached.close()
    good = CachedLLM(UniformLLM(), path)
    assert len(good.generate([ask("a"), ask("b")])) == 2
    good.close()


_CHILD = """
import sys, time
from recsim_llm.language import CachedLLM
from recsim_llm.testing.scripted import FunctionLLM, hash_choice_llm
from recsim_llm.types import Prompt
inner = hash_choice_llm()
def slow(prompt):
    time.sleep(float(sys.argv[2]))
    return inner.generate([prompt])[0]
llm = CachedLLM(FunctionLLM(slow, name="child"), sys.argv[1], chunk_size=10)
print("ready", flush=True)
batch = [Prompt("s", f"c{i}", f"q{i}", ("Yes", "No")) for i in range(int(sys.argv[3]))]
print(hash(tuple(c.logprobs for c in llm.generate(batch))), llm.usage.calls, flush=True)
llm.close()
"""


def child(path, sleep_s, count):
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(path), str(sleep_s), str(count)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )


def stored(path):
    db = sqlite3.connect(path)
    (count,) = db.execute("SELECT count(*) FROM answers").fetchone()
    db.close()
    return count


def test_a_killed_process_leaves_whole_chunks_and_the_next_one_goes_on(path):
    with child(path, 0.005, 1000) as process:
        process.stdout.readline()
        while stored(path) < 30:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    left = stored(path)
    assert 30 <= left < 1000
    assert left % 10 == 0
    with child(path, 0, 1000) as process:
        process.stdout.readline()
        _, calls = process.stdout.readline().split()
    assert int(calls) == 1000 - left
    assert stored(path) == 1000


def test_processes_share_one_file(path):
    processes = [child(path, 0, 3000) for _ in range(3)]
    said = [process.communicate(timeout=60)[0].split() for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert len({words[1] for words in said}) == 1
    assert stored(path) == 3000


@pytest.mark.slow
def test_hits_are_quick(path):
    cached = CachedLLM(hash_choice_llm(), path)
    batch = [ask(f"question {i} " * 5, f"context {i // 8} " * 60) for i in range(20_000)]
    cached.generate(batch)
    best = 1.0
    for _ in range(3):
        started = time.perf_counter()
        cached.generate(batch)
        best = min(best, (time.perf_counter() - started) / len(batch))
    cached.close()
    assert best < 60e-6  # 4 times what an idle machine needs


def test_half_a_surrogate_pair_is_kept_as_a_question_mark_and_counted(path):
    cache = CachedLLM(FunctionLLM(lambda prompt: Completion("caf\u00e9 \ud83d")), path)
    first = cache.generate([Prompt("", "", "q")])
    assert first == cache.generate([Prompt("", "", "q")]) == [Completion("caf\u00e9 ?")]
    assert (cache.usage.mended, cache.usage.cache_hits) == (1, 1)
    cache.close()
