"""Counter-based random numbers: every draw is a pure function of its key, not of the order of calls.

A session has one 64-bit key. A draw is a hash of (key, stream, index), so it does not depend on the batch size, the
order of users or a restart, and a person's draw for an item is the same under two policies (common random numbers).
The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), which passes BigCrush as a counter-based
generator; NumPy's own Philox would need one generator object per session.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_GOLDEN_ONE, _M1_ONE, _M2_ONE, _WORD = int(_GOLDEN), int(_M1), int(_M2), 2**64 - 1
_S30, _S27, _S31, _S11 = (np.uint64(s) for s in (30, 27, 31, 11))


class Stream(IntEnum):
    """Purpose of a draw. Two purposes never share a stream."""

    USER = 1
    SESSION = 2
    WATCH = 3
    RATING = 4
    LEAVE = 5
    POLICY = 6
    DATA = 7
    LISTING = 8
    MEMORY = 9
    WAKE = 10
    ACTION = 11
    GRAPH = 12
    CALIBRATION = 13
    RETURN = 14
    HISTORY = 15
    TUNING = 16
    SEEK = 17


def _finalise(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> _S30)) * _M1
    z = (z ^ (z >> _S27)) * _M2
    return z ^ (z >> _S31)


def mix(*words: ArrayLike) -> NDArray[np.uint64]:
    """Hash integers (arrays broadcast) into 64-bit keys; the order of the words matters.

    Args:
        words: Integers or integer arrays; negative numbers count as their two's complement.

    Returns:
        Keys, of the broadcast shape of the words.
    """
    key = np.zeros((), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for word in words:
            array = np.asarray(word)
            # Python integers above 2**63 arrive as uint64 or object; everything else wraps like int64.
            bits = array.astype(np.uint64) if array.dtype != np.int64 else array.view(np.uint64)
            key = _finalise((key + _GOLDEN) ^ _finalise(bits + _GOLDEN))
    return key


def mix_one(*words: int, key: int = 0) -> int:
    """`mix` of single integers in plain Python, ten times as fast as arrays of length one.

    Args:
        words: Integers of at most 64 bits.
        key: Result of `mix_one` for the preceding words: `mix_one(b, key=mix_one(a))` is `mix_one(a, b)`.
    """
    for word in words:
        key = _finalise_one((key + _GOLDEN_ONE & _WORD) ^ _finalise_one(word + _GOLDEN_ONE & _WORD))
    return key


def _finalise_one(z: int) -> int:
    z = (z ^ (z >> 30)) * _M1_ONE & _WORD
    z = (z ^ (z >> 27)) * _M2_ONE & _WORD
    return z ^ (z >> 31)


def uniforms(*words: ArrayLike) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) with 53 random bits, one per hashed tuple of words (see `mix`)."""
    return (mix(*words) >> _S11).astype(np.float64) * 2.0**-53
