"""`python -m benchmarks.agentcf FOLDER [--llm SPEC]`: value of AgentCF's released texts on its released CDs.

For rankers without text, and the model with memories of any kind, see `recsim-llm agentcf rank`. FOLDER: see
`benchmarks.agentcf_data`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from benchmarks import agentcf_replay
from benchmarks.agentcf_data import AgentCFData, read_agentcf
from recsim_llm.agents.llm.agentcf.agentcf_memories import AgentCFMemories
from recsim_llm.agents.llm.agentcf.agentcf_ranking import CANDIDATES, VARIANTS, RankRequest, rank_agentcf, shuffled
from recsim_llm.errors import MissingExtraError
from recsim_llm.experiments.candidate_ranking import CUTS, ndcg
from recsim_llm.experiments.metrics import estimate
from recsim_llm.language import make_llm
from recsim_llm.language.encoders import HashEncoder
from recsim_llm.language.label_reads import AnswerCounts

Scores = NDArray[np.float64]
_SEED = 0


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agentcf", description="AgentCF's ranking task.")
    parser.add_argument("folder", type=Path, help="AgentCF's released data (see benchmarks/agentcf_data.py)")
    parser.add_argument("--llm", help="also rank with this model, for example transformers:smollm2-135m")
    parser.add_argument("--llm-users", type=int, help="rank with the model for the first so many users only")
    options = parser.parse_args()
    data = read_agentcf(options.folder)
    print(f"{'NDCG, means over users with 95 % intervals':46}" + "".join(f"@{cut:<22}" for cut in CUTS) + "seconds")
    for name, rank in rivals(data, options.llm, options.llm_users):
        started = perf_counter()
        try:
            scores = rank()
        except MissingExtraError as missing:
            print(f"{name:46}left out: {missing}")
            continue
        cells = [str(estimate(ndcg(scores, cut))) for cut in CUTS]
        print(f"{name:46}" + "".join(f"{cell:23}" for cell in cells) + f"{perf_counter() - started:.1f}", flush=True)
    print()
    for line in agentcf_replay.lines(agentcf_replay.replay(data.examples)):
        print(line)


def rivals(
    data: AgentCFData, llm: str | None, llm_users: int | None = None
) -> Iterator[tuple[str, Callable[[], Scores]]]:
    """Names and scoring functions: (U, 10) scores of the candidates, the truth last."""
    yield "published memories, BM25", lambda: bm25(data, _user_memories(data), _item_memories(data))
    yield "published memories, hash encoder", lambda: encoder(data)
    yield "LLMRank as released", lambda: llmrank(data)
    if llm is not None:
        yield from _agentcf(data, llm, len(data.truths) if llm_users is None else llm_users)


def bm25(data: AgentCFData, queries: Sequence[str], documents: Sequence[str]) -> Scores:
    """BM25 of each user's text against the texts of the candidates; document frequencies over all N items."""
    try:
        import bm25s
    except ImportError as error:
        raise MissingExtraError("bm25s", "social", "The BM25 row") from error
    index = bm25s.BM25()
    index.index(bm25s.tokenize(list(documents), stopwords="en", show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(list(queries), stopwords="en", return_ids=False, show_progress=False)
    return _pick(data, np.stack([np.asarray(index.get_scores(words), dtype=np.float64) for words in tokens]))


def encoder(data: AgentCFData) -> Scores:
    """Cosine of the published final memories of user and item."""
    users, items = (
        np.asarray(HashEncoder().encode(texts), dtype=np.float64)
        for texts in (_user_memories(data), _item_memories(data))
    )
    return _pick(data, users @ items.T / np.linalg.norm(items, axis=1).clip(1e-9))


def llmrank(data: AgentCFData) -> Scores:
    """The released ranking; it may lack some of our nine negatives, but never the truth."""
    scores = np.zeros((len(data.truths), CANDIDATES))
    for user, ranking in enumerate(data.llmrank):
        place = ranking.index(data.truths[user])
        # It ranks its own candidates, so only the number of items above the truth is comparable.
        scores[user, :place] = 1.0
        scores[user, place:-1] = -1.0
    return scores


def _agentcf(data: AgentCFData, spec: str, users: int) -> Iterator[tuple[str, Callable[[], Scores]]]:
    llm = make_llm(spec)
    blank = AgentCFMemories(data.catalogue, "CD")

    def rank(memories: AgentCFMemories, variant: str, answers: str) -> Scores:
        requests = [
            RankRequest(user, shuffled(data.candidates(user), _SEED, user), tuple(data.histories[user]))
            for user in range(users)
        ]
        counts = AnswerCounts()
        orders = rank_agentcf(llm, memories, requests, variant, answers, HashEncoder(), counts)
        if counts.malformed:
            print(f"  {counts.malformed} malformed, {counts.reasked} asked again, {counts.fallbacks} left as listed:")
        rows = [[-order.index(item) for item in data.candidates(user)] for user, order in enumerate(orders)]
        return np.array(rows, dtype=np.float64)

    few = f", {users} users" if users < len(data.truths) else ""
    for variant in VARIANTS:
        yield f"AgentCF {variant}, published, labels{few}", partial(rank, data.memories, variant, "labels")
    yield f"AgentCF basic, start memories, labels{few}", lambda: rank(blank, "basic", "labels")
    yield f"AgentCF history, start memories, labels{few}", lambda: rank(blank, "history", "labels")
    yield f"AgentCF basic, published, text{few}", lambda: rank(data.memories, "basic", "text")


def _pick(data: AgentCFData, scores_UN: Scores) -> Scores:
    return np.stack([scores_UN[user, data.candidates(user)] for user in range(len(data.truths))])


def _user_memories(data: AgentCFData) -> list[str]:
    return [data.memories.user(user) for user in range(len(data.truths))]


def _item_memories(data: AgentCFData) -> list[str]:
    return [data.memories.item(item) for item in range(len(data.catalogue))]


if __name__ == "__main__":
    main()
