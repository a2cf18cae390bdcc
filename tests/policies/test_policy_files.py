"""Damaged, foreign and misplaced policy files are refused with a sentence."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from worlds import make_catalogue, make_log

from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.policies import load_policy, make_policy
from recsim_llm.policies.classic.ease import EASE
from recsim_llm.policies.policy_files import write_file


@pytest.fixture
def saved(tmp_path):
    policy = make_policy("popularity", make_log([(0, 1, 3.0), (0, 2, 3.0)], 2, 300), make_catalogue(300), 2)
    policy.save(tmp_path / "policy.npz")
    return tmp_path / "policy.npz"


def npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.arange(3))
    return out.getvalue()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", npy()])
def test_what_is_no_policy_file(tmp_path, content):
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(RecordingError, match="p.npz is not a policy file"):
        load_policy(tmp_path / "p.npz")


def test_a_missing_file(tmp_path):
    with pytest.raises(RecordingError, match="no such policy file"):
        load_policy(tmp_path / "p.npz")


def test_a_file_cut_off_anywhere(saved):
    whole = saved.read_bytes()
    for length in range(1, len(whole), 97):
        saved.write_bytes(whole[:length])
        with pytest.raises(RecordingError, match="not a policy file"):
            load_policy(saved)


def test_a_flipped_byte_in_the_content(saved):
    whole = saved.read_bytes()
    with zipfile.ZipFile(saved) as archive:
        entry = archive.getinfo("fitted_counts.npy")
    # Past the local header: 30 bytes, then the name and what zip64 adds, whose lengths stand at its end.
    lengths = whole[entry.header_offset + 26 : entry.header_offset + 30]
    start = entry.header_offset + 30 + sum(int.from_bytes(part, "little") for part in (lengths[:2], lengths[2:]))
    for place in range(start, start + entry.compress_size, 7):
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with pytest.raises(RecordingError, match="not a policy file"):
            load_policy(saved)


def rewrite(path, **changes):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays |= {name: np.array(value) for name, value in changes.items() if value is not None}
    np.savez(path, **{k: v for k, v in arrays.items() if changes.get(k, "") is not None})


def test_another_format_is_refused(saved):
    rewrite(saved, meta_format=99)
    with pytest.raises(RecordingError, match="format 99"):
        load_policy(saved)


def test_a_file_that_lacks_the_log_is_refused(saved):
    rewrite(saved, known_indices=None)
    with pytest.raises(RecordingError, match="without known_indices"):
        load_policy(saved)


def test_a_policy_that_is_not_registered(saved):
    rewrite(saved, meta_policy="soothsayer")
    with pytest.raises(RecordingError, match="'soothsayer', which is neither built in nor brought"):
        load_policy(saved)


def test_a_file_of_another_policy(saved):
    with pytest.raises(RecordingError, match="'popularity', not 'ease'"):
        EASE.load(saved)


def test_a_pickle_is_not_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, ("raise SystemExit('the trap was opened')",))

    np.savez(tmp_path / "p.npz", meta_format=np.array([Trap()], dtype=object))
    with pytest.raises(RecordingError, match="not a policy file"):
        load_policy(tmp_path / "p.npz")


def test_objects_are_not_written(tmp_path):
    with pytest.raises(ConfigError, match="fitted_words"):
        write_file(tmp_path / "p.npz", {}, {}, {"words": np.array([{}], dtype=object)})


def test_saving_twice_writes_the_same_bytes(tmp_path):
    np.savez(tmp_path / "vectors.npz", user=np.ones((2, 3)), item=np.ones((9, 3)))
    for name in ("random", "live-popularity", "ease", "als", "embeddings"):
        options = {"vectors": tmp_path / "vectors.npz"} if name == "embeddings" else {}
        policy = make_policy(name, make_log([(0, 1, 3.0), (1, 2, 3.0)], 2, 9), make_catalogue(9), 2, **options)
        policy.save(tmp_path / "a.npz")
        policy.save(tmp_path / "b.npz")
        assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
