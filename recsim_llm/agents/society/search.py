"""The search box: BM25 over label, genres and description of items, the same for all users.

Scores are BM25 as Lucene has it, k1 = 1.5 and b = 0.75 (package bm25s; Lù, arXiv 2407.03618). Words are runs of letters
and digits, without case and accents; a word that a query repeats counts once. Scripts without spaces are found by whole
runs only.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from recsim_llm.data.dataset import Catalogue
from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.types import EMPTY, Floats32, Ints, Item

MAX_QUERY_BYTES = 512
"""Bytes (UTF-8) of a query that are read; a search box would not take more, and models may ramble."""

_WORD = re.compile(r"[^\W_]+")


class CatalogueSearch:
    """An index over a catalogue.

    Args:
        catalogue: The items to index. Items with equal titles stay separate.

    Raises:
        MissingExtraError: bm25s is not installed.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._vocabulary: dict[str, int] = {}
        documents = [
            [self._vocabulary.setdefault(word, len(self._vocabulary)) for word in words(_text(item))]
            for item in catalogue
        ]
        # bm25s cannot index a catalogue without words; nothing is ever found in one.
        self._index = _build(documents, self._vocabulary) if self._vocabulary else None

    def search(self, queries: Sequence[str], k: int) -> Ints:
        """The best items for each query.

        Args:
            queries: B texts of any content; the first `MAX_QUERY_BYTES` are read.
            k: Most items per query, >= 1.

        Returns:
            (B, k) item ids, best first, equal scores by id, EMPTY where fewer than k contain a word of the query. A
            query without a word finds nothing.

        Raises:
            ConfigError: k is less than 1.
        """
        if k < 1:
            raise ConfigError(f"A search for k={k} items: k is 1 or more.")
        answers = {query: self._best(query, k) for query in dict.fromkeys(queries)}
        if not queries:
            return np.zeros((0, k), dtype=np.int64)
        return np.stack([answers[query] for query in queries])

    def _best(self, query: str, k: int) -> Ints:
        result = np.full(k, EMPTY, dtype=np.int64)
        known = [self._vocabulary[word] for word in dict.fromkeys(words(_bounded(query))) if word in self._vocabulary]
        if known and self._index is not None:
            scores: Floats32 = self._index.get_scores(known)
            found = np.flatnonzero(scores > 0)
            best = found[np.argsort(-scores[found], kind="stable")[:k]]
            result[: len(best)] = best
        return result


def words(text: str) -> list[str]:
    """The words of a text as they are indexed.

    >>> words("Amélie: 2nd_Part, ＡＢＣ")
    ['amelie', '2nd', 'part', 'abc']
    """
    # Case first and last: folding may compose, and decomposing may uncover letters with case.
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).casefold()
    return _WORD.findall("".join(c for c in plain if unicodedata.category(c)[0] != "M"))


def _text(item: Item) -> str:
    return " ".join((item.label, *item.genres, item.description))


def _bounded(query: str) -> str:
    # Cut first, so that a long text is never encoded whole; a lone surrogate becomes "?", half a character nothing.
    head = query[:MAX_QUERY_BYTES].encode("utf-8", "replace")[:MAX_QUERY_BYTES]
    return head.decode("utf-8", "ignore")


def _build(documents: list[list[int]], vocabulary: dict[str, int]) -> Any:
    log = logging.getLogger("bm25s")
    level = log.level
    bm25s = _import_bm25s()
    index = bm25s.BM25(backend="numpy", csc_backend="numpy")
    # Its import switches its own debug messages on; hold them back while it works, then leave all as it was before.
    log.setLevel(logging.WARNING)
    try:
        # With its own empty word it would look up a score that a full vocabulary does not have.
        index.index((documents, dict(vocabulary)), create_empty_token=False, show_progress=False)
    finally:
        log.setLevel(level)
    return index


def _import_bm25s() -> ModuleType:
    try:
        import bm25s
    except ImportError as error:
        raise MissingExtraError("bm25s", "social", "The search box") from error
    module: ModuleType = bm25s
    return module
