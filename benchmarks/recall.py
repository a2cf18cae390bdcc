"""Recall from long memories: 1,000 agents of 10,000 events, beside a list of dictionaries per agent."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.table import Row, best_seconds
from recsim_llm.agents.llm.memory.memory_protocol import Event
from recsim_llm.agents.llm.memory.stream import StreamMemory
from recsim_llm.language.encoders import CachedEncoder, HashEncoder
from recsim_llm.types import Floats32

DIM, K, VOCABULARY = 64, 5, 4_000
QUERY = "Watched Item 17, Comedy; Item 18, Drama"


def run(quick: bool) -> Iterator[Row]:
    """Ours at full size; the peer with as many events per agent, but fewer agents, since its cost is per agent."""
    agents, events, peers = (20, 500, 5) if quick else (1_000, 10_000, 10)
    memory, encoder = filled(agents, events)
    everybody, now = np.arange(agents), np.full(agents, float(events))
    queries = [f"{QUERY} {agent}" for agent in range(agents)]
    ours = best_seconds(lambda: memory.recall(everybody, queries, now, K)) / agents
    streams = peer_streams(peers, events, encoder)
    vectors = encoder.encode(queries[:peers])
    peer = best_seconds(lambda: [peer_recall(s, v) for s, v in zip(streams, vectors, strict=True)]) / peers
    size = f"{agents:,} agents x {events:,} events, {DIM} dimensions"
    peer_is = f"a list of dicts an agent, a cosine an event, Python's sort ({peers} agents)"
    yield Row(f"recall of {K} memories, {size}", ours * 1e3, "ms/agent", "1", peer * 1e3, peer_is)
    held, theirs = memory.nbytes(0), peer_bytes(streams[0])
    yield Row(f"memory of an agent, {size}, shared texts left out", held, "bytes/agent", "", theirs, peer_is)
    batched = best_seconds(lambda: matrix_recall(streams, vectors)) / peers
    peer_is = f"the same lists, vectors stacked for one product, full sort ({peers} agents)"
    yield Row(f"recall of {K} memories, {size}", ours * 1e3, "ms/agent", "1", batched * 1e3, peer_is)


def texts() -> list[str]:
    """Texts of events, shared by many agents."""
    genres = ("Comedy", "Drama", "Horror", "Western", "Sci-Fi")
    return [f"Watched Item {i}, {genres[i % 5]}, and gave it {i % 5 + 1} of 5." for i in range(VOCABULARY)]


def filled(agents: int, events: int) -> tuple[StreamMemory, CachedEncoder]:
    """Agents with this many events, each in another order."""
    encoder = CachedEncoder(HashEncoder(DIM))
    memory, everybody, known = StreamMemory(encoder, capacity=events), np.arange(agents), texts()
    memory.forget(everybody)
    for agent in range(agents):
        lived = [Event(known[(agent * 7 + i * 13) % VOCABULARY], 0.5) for i in range(events)]
        memory.add(np.full(events, agent), lived, np.arange(events, dtype=np.float64))
    gc.collect()
    return memory, encoder


def peer_streams(agents: int, events: int, encoder: CachedEncoder) -> list[list[dict[str, Any]]]:
    """Memory streams as in agent frameworks: a document with metadata and its own vector per event."""
    known, vectors = texts(), encoder.encode(texts())
    return [
        [
            {
                "text": known[number],
                "vector": vectors[number].copy(),
                "importance": 0.5,
                "created_at": float(i),
                "last_accessed_at": float(i),
            }
            for i, number in enumerate((agent * 7 + j * 13) % VOCABULARY for j in range(events))
        ]
        for agent in range(agents)
    ]


def peer_recall(stream: list[dict[str, Any]], query: Floats32) -> list[dict[str, Any]]:
    """A cosine for each document, sorted."""

    def likeness(document: dict[str, Any]) -> float:
        vector = document["vector"]
        return float(np.dot(vector, query) / (np.linalg.norm(vector) * np.linalg.norm(query)))

    return sorted(stream, key=likeness, reverse=True)[:K]


def matrix_recall(streams: list[list[dict[str, Any]]], queries: Floats32) -> list[list[dict[str, Any]]]:
    """The same with the cosines of an agent in one product, over a matrix that is assembled for each recall."""
    found = []
    for stream, query in zip(streams, queries, strict=True):
        scores = np.stack([document["vector"] for document in stream]) @ query
        found.append([stream[i] for i in np.argsort(-scores)[:K].tolist()])
    return found


def peer_bytes(stream: list[dict[str, Any]]) -> float:
    """Bytes of a stream's documents and vectors, texts left out; as CPython counts them."""
    shells = stream.__sizeof__() + sum(document.__sizeof__() for document in stream)
    return float(shells + sum(d["vector"].__sizeof__() + 2 * d["created_at"].__sizeof__() for d in stream))
