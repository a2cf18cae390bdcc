"""BM25: ranks items by the words that their texts share with the last liked items, with the library `bm25s`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.policies.ranking import RankingPolicy, Size
from recsim_llm.policies.sequential.sequences import logged_sequences, recent_items
from recsim_llm.policies.sparse_rows import Scores, or_popular
from recsim_llm.types import EMPTY, Ints, Item, Observation


class BM25(RankingPolicy):
    """The query is the texts (title with year, genres, description) of the last `recent` items that the user liked.

    Scores are Lucene's variant of BM25, k1 = 1.5 and b = 0.75 (Robertson and Zaragoza 2009; Lù, arXiv 2407.03618). A
    word counts as often as it occurs in the query. Users without any liked item are shown popular items.
    """

    name = "bm25"
    reads_log: ClassVar[bool] = True

    @classmethod
    def learn_from_log(
        cls, log: Ratings, catalogue: Catalogue, seed: int, recent: Size = 10
    ) -> Mapping[str, NDArray[Any]]:
        """Index the texts.

        Args:
            log: Liked items of the users, with times.
            catalogue: The items, whose texts are indexed.
            seed: Not used.
            recent: How many of the latest liked items make up the query, at least 1.

        Raises:
            ConfigError: `recent` is out of range, or the catalogue has no texts.
            MissingExtraError: `bm25s` is not installed.
        """
        texts = [_text(item, catalogue.has_titles) for item in catalogue]
        words, impact = _index(texts)
        arrays = {**_parts("words", words), **_parts("impact", impact)}
        return {**arrays, **logged_sequences(log), "recent": np.array(int(recent))}

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) BM25 scores of the items' texts."""
        items = recent_items(observation, self.fitted, int(self.fitted["recent"]), self.min_rating)
        query = _counts(items, self.known.shape[1]) @ self._matrix("words", self.known.shape[1])
        scores: Scores = (query @ self._matrix("impact", query.shape[1])).toarray()
        return or_popular(scores, taste, self.popularity)

    def _matrix(self, name: str, num_rows: int) -> sp.csr_array:
        data, indices, indptr = (self.fitted[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
        columns = len(self.fitted["impact_indptr"]) - 1 if name == "words" else self.known.shape[1]
        return sp.csr_array((data, indices, indptr), shape=(num_rows, columns))


def _text(item: Item, has_titles: bool) -> str:
    return " ".join((item.label if has_titles else "", *item.genres, item.description)).strip()


def _counts(items: Ints, num_items: int) -> sp.csr_array:
    rows, columns = np.nonzero(items != EMPTY)
    ones = np.ones(len(rows), dtype=np.float32)
    return sp.csr_array((ones, (rows, items[rows, columns])), shape=(len(items), num_items))


def _parts(name: str, matrix: sp.csr_array) -> dict[str, NDArray[Any]]:
    return {f"{name}_data": matrix.data, f"{name}_indices": matrix.indices, f"{name}_indptr": matrix.indptr}


def _index(texts: list[str]) -> tuple[sp.csr_array, sp.csr_array]:
    """Return (N, V) word counts per item, and (V, N) the score that one query word adds to each item."""
    bm25s = _import_bm25s()
    log = logging.getLogger("bm25s")
    level = log.level
    # Importing bm25s turns on its debug messages: silence them here and restore the level afterwards.
    log.setLevel(logging.WARNING)
    try:
        words = bm25s.tokenize(texts, stopwords="en", show_progress=False, return_ids=False)
        vocabulary: dict[str, int] = {}
        # The library gives a text without words one empty word, which is dropped here.
        ids = [[vocabulary.setdefault(word, len(vocabulary)) for word in text if word] for text in words]
        if not vocabulary:
            raise ConfigError("Policy 'bm25' needs texts: the items have neither titles nor genres nor descriptions.")
        model = bm25s.BM25(backend="numpy", csc_backend="numpy")
        model.index((ids, vocabulary), create_empty_token=False, show_progress=False)
    finally:
        log.setLevel(level)
    shape, found = (len(texts), len(vocabulary)), model.scores
    rows, columns = np.repeat(np.arange(len(ids)), [len(text) for text in ids]), [word for text in ids for word in text]
    counts = sp.csr_array((np.ones(len(columns), dtype=np.float32), (rows, columns)), shape=shape)
    return counts, sp.csr_array((found["data"], found["indices"], found["indptr"]), shape=shape[::-1])


def _import_bm25s() -> ModuleType:
    try:
        import bm25s
    except ImportError as error:
        raise MissingExtraError("bm25s", "social", "The policy 'bm25'") from error
    module: ModuleType = bm25s
    return module
