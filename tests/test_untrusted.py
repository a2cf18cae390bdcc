"""Caps on what files ask for: bombs are refused before memory is taken; what the project writes is far below."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsim_llm.data import load_dataset
from recsim_llm.errors import (
    ConfigError,
    DataError,
    DownloadError,
    LLMError,
    RecordingError,
    SetAsideWarning,
    TooLargeError,
)
from recsim_llm.experiments.simulation.interview import parse_exit
from recsim_llm.experiments.tuning.writer import NUMBERS, writer_of
from recsim_llm.language.protocol import Usage
from recsim_llm.language.uniform import UniformLLM
from recsim_llm.language.wrappers.cache import CachedLLM
from recsim_llm.policies import load_policy, make_policy
from recsim_llm.runs.run_files import read_parquet
from recsim_llm.types import Completion, Prompt
from recsim_llm.untrusted import (
    LIMIT,
    MOST_DEPTH,
    check_size,
    most_bytes,
    parse_json,
    read_arrays,
    read_bytes,
    read_json,
    read_toml,
)

MIB = 1 << 20


@contextmanager
def at_most(mib: float) -> Iterator[None]:
    """No more memory than this is taken, by Python or numpy, at any time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < mib * MIB
    finally:
        tracemalloc.stop()


def header(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    """The beginning of an `.npy` file that claims this shape."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": dtype, "fortran_order": False, "shape": shape})
    return out.getvalue()


def npz(path: Path, *members: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for number, content in enumerate(members):
            archive.writestr(f"a{number}.npy", content)
    return path


@pytest.mark.parametrize(
    "members",
    [
        [header((1 << 30,)) + bytes(MIB)],
        [header((1 << 15, 1 << 15)) + bytes(MIB)],
        [header((1 << 25,))] * 40,  # each is allowed, all of them are not
        [header((8,), "<U200000000")],
        [header((1 << 40, 1 << 40))],
        [header((1 << 62,), "|V0")],
    ],
    ids=["one", "table", "many", "long text", "beyond 64 bits", "nothing, often"],
)
def test_arrays_that_ask_for_gigabytes_are_refused_before_memory_is_taken(members: list[bytes], tmp_path: Path) -> None:
    path = npz(tmp_path / "bomb.npz", *members)
    assert path.stat().st_size < 8 * MIB
    with at_most(8), pytest.raises(TooLargeError, match=rf"bomb\.npz asks for .* MiB; 4,096\.0 MiB are .*{LIMIT}=GIB"):
        read_arrays(path)
    with at_most(8), pytest.raises(RecordingError, match=LIMIT):
        load_policy(path)


def test_a_real_bomb_is_refused_and_the_way_out_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "zeros.npz", zeros=np.zeros(4 * MIB))  # 32 MiB in 32 kB
    monkeypatch.setenv(LIMIT, "0.03")
    with at_most(8), pytest.raises(TooLargeError, match=r"asks for 32\.0 MiB; 30\.7 MiB are allowed"):
        read_arrays(tmp_path / "zeros.npz")
    monkeypatch.setenv(LIMIT, "0.04")
    assert read_arrays(tmp_path / "zeros.npz")["zeros"].shape == (4 * MIB,)


def test_a_file_that_hardly_shrank_is_never_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of a large policy: its size on disk is most of its size in memory."""
    weights = np.random.default_rng(0).random(MIB)
    np.savez_compressed(tmp_path / "large.npz", weights=weights)
    monkeypatch.setenv(LIMIT, "0.001")
    np.testing.assert_array_equal(read_arrays(tmp_path / "large.npz")["weights"], weights)


@pytest.mark.parametrize(
    "content",
    [header((-1,)), b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f8'}", header((4,)), b"", b"\x93NUMPY\x09\x00"],
    ids=["negative", "half a header", "cut off", "empty", "unknown version"],
)
def test_broken_arrays_have_a_named_error(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"broken\.npz is no \.npz file"):
        read_arrays(npz(tmp_path / "broken.npz", content))


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_packings_are_refused(method: int, tmp_path: Path) -> None:
    """A few bytes of LZMA may ask for a dictionary of gigabytes."""
    with pytest.raises(DataError, match="packed by method"):
        read_arrays(npz(tmp_path / "packed.npz", header((1,)) + bytes(8), method=method))


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {
        "numbers": np.arange(6, dtype=np.float32).reshape(2, 3), "none": np.zeros((0, 3)), "one": np.array(7),
        "text": np.array("Ümlaut"), "flags": np.array([True, False]), "net.main.weight": np.asfortranarray(np.eye(2)),
    }  # fmt: skip
    np.savez_compressed(tmp_path / "all.npz", **arrays)
    read = read_arrays(tmp_path / "all.npz")
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_the_limit_must_be_a_number_above_0(monkeypatch: pytest.MonkeyPatch) -> None:
    assert most_bytes() == 4 * 1024**3
    monkeypatch.setenv(LIMIT, "0.5")
    assert most_bytes() == 512 * MIB
    for wrong in ("0", "-1", "much", "nan", "inf"):
        monkeypatch.setenv(LIMIT, wrong)
        with pytest.raises(ConfigError, match=f"{LIMIT}={wrong} is not a number above 0"):
            most_bytes()


NESTED = {
    "lists": "[" * 100_000 + "]" * 100_000,
    "objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "just too deep": "[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1),
    "within": '{"a": [1, {"b": ' + "[" * MOST_DEPTH + "]" * MOST_DEPTH + "}]}",
}


@pytest.mark.parametrize("name", NESTED)
def test_json_nested_too_deep_has_a_named_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text(NESTED[name])
    with pytest.raises(TooLargeError, match=r"deep\.json is nested too deep: more than 64"):
        read_json(path)
    assert parse_exit(f'{{"rating": {NESTED[name]}, "reason": ""}}') is None  # what a model wrote


def test_json_is_read_to_the_depth_that_is_allowed(tmp_path: Path) -> None:
    text = "[" * MOST_DEPTH + "]" * MOST_DEPTH
    assert parse_json(text, "here") == json.loads(text)
    assert parse_json(b"\xef\xbb\xbf[1]", "here") == [1]  # as some editors save it


def test_large_json_is_refused_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.json"
    path.write_text(json.dumps(["x" * 1000] * 1000))
    monkeypatch.setenv(LIMIT, "0.0015")
    with pytest.raises(TooLargeError, match=r"large\.json asks for 1\.0 MiB; 0\.8 MiB"):
        read_json(path)
    monkeypatch.setenv(LIMIT, "0.003")
    assert len(read_json(path)) == 1000


def test_a_file_without_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT, "0.001")
    with at_most(8), pytest.raises(TooLargeError, match="/dev/zero"):
        read_bytes(Path("/dev/zero"))


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 100_000, "a = " + "{b = " * 100_000, ".".join("a" * 100_000) + " = 1", f"[{'.'.join('a' * 200)}]",
     "x = {" + ' . '.join(['"a"'] * 200) + " = 1}"],
    ids=["lists", "tables", "dotted name", "dotted header", "quoted"],
)  # fmt: skip
def test_toml_nested_too_deep_has_a_named_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "deep.toml").write_text(text)
    with pytest.raises(TooLargeError, match=r"deep\.toml is nested too deep"):
        read_toml(tmp_path / "deep.toml")


def test_toml_of_many_people_is_read(tmp_path: Path) -> None:
    text = f'[[advert]]\nusers = {list(range(10_000))}\nwords = "{"No. Never... " * 100}e.g.{".a" * 60}"\n'
    (tmp_path / "plan.toml").write_text(text)
    assert len(read_toml(tmp_path / "plan.toml")["advert"][0]["users"]) == 10_000
    (tmp_path / "plan.toml").write_bytes(b"#" * (8 * MIB + 1))
    with pytest.raises(TooLargeError, match="8.0 MiB are allowed"):
        read_toml(tmp_path / "plan.toml")


def tuned(folder: Path, base: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / NUMBERS).write_text(json.dumps({"config": {"model": base}}))
    return folder


def test_tuned_folders_that_name_each_other_are_an_error(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    tuned(one, str(two)), tuned(two, str(one))
    with pytest.raises(ConfigError, match="two/tuning.json says that the tuning began with .*one, .* nobody writes"):
        writer_of(f"transformers:{one}")
    tuned(two, f"{one}?device=cuda")
    with pytest.raises(ConfigError, match="options"):
        writer_of(f"transformers:{one}")
    tuned(two, "smollm2-135m")
    assert writer_of(f"vllm:{one}?max_model_len=64") == "vllm:smollm2-135m?max_model_len=64"


def test_a_policy_in_a_policy_in_a_policy_is_refused(tmp_path: Path) -> None:
    """An archive can hold itself: such a file would be unpacked without end."""
    data = load_dataset("synthetic")
    outer = make_policy("actonly", data.ratings, data.catalogue, 5, llm=UniformLLM(), retriever="popularity")
    outer.save(tmp_path / "inner.npz")
    load_policy(tmp_path / "inner.npz")
    arrays = read_arrays(tmp_path / "inner.npz")
    arrays["fitted_retriever"] = np.frombuffer((tmp_path / "inner.npz").read_bytes(), dtype=np.uint8)
    np.savez(tmp_path / "outer.npz", **arrays)
    with pytest.raises(RecordingError, match="'actonly', which asks a language model itself"):
        load_policy(tmp_path / "outer.npz")


def test_parquet_that_asks_for_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 4 * MIB
    table = pa.table({"user": pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([7]))})
    pq.write_table(table.cast(pa.schema([("user", pa.int64())])), tmp_path / "bomb.parquet", compression="zstd")
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    monkeypatch.setenv(LIMIT, "0.02")
    with at_most(8), pytest.raises(RecordingError, match=r"asks for 32\.0 MiB; 20\.5 MiB are allowed"):
        read_parquet(tmp_path / "bomb.parquet")
    (tmp_path / "bomb.parquet").rename(tmp_path / "ratings.parquet")
    with pytest.raises(DataError, match=r"ratings\.parquet.* asks for 32\.0 MiB"):
        load_dataset(tmp_path)
    monkeypatch.setenv(LIMIT, "0.04")
    assert read_parquet(tmp_path / "ratings.parquet").num_rows == rows


def test_a_member_of_an_archive_does_not_expand_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recsim_llm.fetch import read_member

    npz(tmp_path / "data.zip", bytes(32 * MIB))
    monkeypatch.setenv(LIMIT, "0.03")
    with at_most(8), pytest.raises(TooLargeError, match=r"data\.zip: 'a0\.npy' asks for 32\.0 MiB"):
        read_member(tmp_path / "data.zip", "a0.npy")
    monkeypatch.setenv(LIMIT, "0.04")
    assert len(read_member(tmp_path / "data.zip", "a0.npy")) == 32 * MIB


def test_a_download_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recsim_llm import fetch

    class Endless:
        def __init__(self, **options: object) -> None: ...

        def __call__(self, url: str, output: object, pup: object) -> None:
            for _ in range(1_000):
                output.write(bytes(MIB))  # type: ignore[attr-defined]

    monkeypatch.setattr("pooch.HTTPDownloader", Endless)
    monkeypatch.setattr(fetch, "MOST_DOWNLOADED", 3 * MIB)
    with pytest.raises(DownloadError, match="sends more than 3 MiB"):
        fetch.fetch_url("http://127.0.0.1/data.zip", "0" * 64, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


class Writes:
    """A model that writes long answers."""

    name = "writes"

    def __init__(self, length: int) -> None:
        self.usage, self._length = Usage(), length

    def generate(self, prompts: list[Prompt]) -> list[Completion]:
        self.usage.calls += len(prompts)
        return [Completion("x" * self._length, (), 1, 1) for _ in prompts]


def test_a_cache_gives_back_no_giant_and_loses_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [Prompt("s", "c", f"q{i}") for i in range(4)]
    path, giant = tmp_path / "answers.sqlite", Writes(17 * MIB)
    assert len(CachedLLM(giant, path).generate(prompts[:1])[0].text) == 17 * MIB  # given, not kept
    CachedLLM(giant, path).generate(prompts[:1])
    assert giant.usage.calls == 2
    normal = Writes(3 * MIB)
    CachedLLM(normal, path).generate(prompts)
    assert CachedLLM(normal, path).generate(prompts)[3].text == "x" * 3 * MIB
    assert normal.usage.calls == 4
    monkeypatch.setenv(LIMIT, "0.01")
    with pytest.raises(TooLargeError, match=r"answers\.sqlite asks for"):
        CachedLLM(normal, path).generate(prompts)


def test_a_server_that_sends_without_end_is_a_failure_that_is_counted() -> None:
    pytest.importorskip("aiohttp")
    import sys

    sys.path.insert(0, str(Path(__file__).parent / "language"))
    from aiohttp import web
    from mock_server import MockServer

    from recsim_llm.language import OpenAILLM
    from recsim_llm.language.backends.openai import openai_transport

    sent = gzip.compress(bytes(300 * MIB), 1)  # 1.3 MB

    def fault(question: str, attempt: int) -> web.Response | None:
        if "never" in question or attempt == 0:
            return web.Response(body=sent, headers={"Content-Encoding": "gzip"}, content_type="application/json")
        return None

    with MockServer(fault=fault) as server:
        llm = OpenAILLM("m", server.url, "k", max_retries=1)
        assert openai_transport._MOST_BYTES == 64 * MIB
        with at_most(200):  # what was unpacked of the last piece comes on top
            assert llm.generate([Prompt("s", "c", "q", ("Yes", "No"))])[0].text == "Yes"
        assert llm.usage.retries == 1
        with pytest.raises(LLMError, match=r"sent more than any answer has \(asked 2 times\)"):
            llm.generate([Prompt("s", "c", "never", ("Yes", "No"))])
        llm.close()


def test_what_is_written_for_100000_people_is_far_below_the_caps() -> None:
    """Bytes that files of large runs ask for, at the sizes written out; docs/faults.md has those that were measured."""
    people = 100_000
    for wanted in (
        4 * people * 10_000,  # scores of 10,000 items for everybody (cornac's table)
        4 * 20_000**2,  # ease on 20,000 items
        8 * people * 200 * 4,  # a history of 200 ratings each: user, item, stars, time
        4 * people * (1 + 2 * 50) * 21,  # an offline log of 20 steps each, with 50 items of history
    ):
        check_size("this", wanted)


@pytest.mark.parametrize(
    "evil",
    [
        "CREATE VIEW answers AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT x'00' AS key, 'x' AS text, x'' AS logprobs, i AS prompt_tokens, 1 AS output_tokens FROM n",
        "CREATE TABLE answers (key, text, logprobs, prompt_tokens, output_tokens); CREATE TRIGGER answers_too BEFORE "
        "INSERT ON answers BEGIN SELECT randomblob(1000000000); END",
    ],
    ids=["view without end", "trigger"],
)
def test_a_cache_whose_table_does_something_is_set_aside(evil: str, tmp_path: Path) -> None:
    path, prompt = tmp_path / "answers.sqlite", Prompt("s", "c", "q", ("Yes", "No"))
    with sqlite3.connect(path) as db:
        db.executescript(f"{evil}; PRAGMA user_version=1")
    with pytest.warns(SetAsideWarning, match="none that this program made"):
        llm = CachedLLM(UniformLLM(), path)
    assert llm.generate([prompt]) == UniformLLM().generate([prompt])
    llm.close()
