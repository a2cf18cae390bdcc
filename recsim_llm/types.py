"""Data types shared by the parts of the system; contains no logic.

Letters in array names: B users in a batch, K page size, N catalogue size, R rating levels, H history length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

EMPTY = -1
"""The item id of an empty slot of a page, and of padding in a history."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that can be recommended.

    Attributes:
        id: Position in the catalogue, 0..N-1; the only identifier that environments use.
        title: Title as a person would read it.
        year: Year of release, None if unknown.
        genres: Genres, in the order of the source.
        description: A sentence about the item, "" if the data has none.
    """

    id: int
    title: str
    year: int | None = None
    genres: tuple[str, ...] = ()
    description: str = ""

    @property
    def label(self) -> str:
        """Title with the year, as shown to people and models."""
        return f"{self.title} ({self.year})" if self.year is not None else self.title


@dataclass(frozen=True, slots=True)
class Persona:
    """Profile of an agent, derived from the real person's *training* ratings only.

    Attributes:
        user: User id, 0..U-1.
        age, gender, occupation: Demographics, None if the data has none.
        activity, conformity, diversity: Agent4Rec's trait levels 1..3 (see `agents.personas.persona` for formulas).
        likes, dislikes: Genres rated above / below the person's own mean, most telling first.
        liked_items, disliked_items: Example item ids, best / worst rated first.
        mean_rating: Mean of the person's ratings, in stars.
    """

    user: int
    age: int | None
    gender: str | None
    occupation: str | None
    activity: int
    conformity: int
    diversity: int
    likes: tuple[str, ...]
    dislikes: tuple[str, ...]
    liked_items: tuple[int, ...]
    disliked_items: tuple[int, ...]
    mean_rating: float


@dataclass(frozen=True, slots=True)
class Reaction:
    """Response probabilities of users to their pages; no decisions are drawn yet.

    Attributes:
        watch_BK: Probability of watching, [0, 1]; 0 in empty slots.
        rating_BKR: Distribution over the R rating levels if watched; rows sum to 1.
        thoughts: One text per user for people to read, or () if the model writes none. Never affects a reward.
    """

    watch_BK: Floats
    rating_BKR: Floats
    thoughts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Responses:
    """Actions of users, sampled by the environment from a Reaction.

    Attributes:
        watched_BK: True where the item was watched.
        ratings_BK: Stars given, 0 where not watched (rating levels are positive).
    """

    watched_BK: Bools
    ratings_BK: Floats


class Observation(TypedDict):
    """What a policy observes of B users: no more than a real platform would.

    History rows are impressions of this session, preceded by the user's logged ratings; oldest first, newest at
    the end, padded at the front. An empty slot of a page keeps its column: the last `page` times K columns, as
    far as H reaches, are those of this session.

    Keys:
        user: (B, 1) user ids.
        page: (B, 1) pages already seen in this session.
        history_items: (B, H) item ids, EMPTY where padded or where a slot was empty.
        history_ratings: (B, H) stars, 0 where shown but not watched.
        history_mask: (B, H) 1 where the entry is real.
    """

    user: Ints
    page: Ints
    history_items: Ints
    history_ratings: Floats32
    history_mask: NDArray[np.int8]


class Prompt(NamedTuple):
    """One question to a language model, ordered for prefix caching: the parts that most prompts share come first.

    A named tuple, not a dataclass: a run builds millions of them, and a tuple is built four times as fast.

    Attributes:
        system: Instructions shared by all agents.
        context: Persona and memory of the agent, shared by all questions to one agent at one moment.
        question: The rest of the prompt.
        choices: If not empty, the answer is one of these, read as log-probabilities, without decoding.
        schema: If not empty, a JSON schema (as text) that the answer must follow.
        max_tokens: Longest text answer, in tokens; not used with choices.
        temperature: Sampling temperature of text answers, 0 is greedy; not used with choices.
        seed: Seed of a sampled text; also distinguishes the same question asked twice on purpose.
        slots: With choices, the number of labels in the answer, on one line separated by spaces: one call for a whole
            page. Each is conditioned on the likeliest earlier ones.
        adapter: Folder of a LoRA adapter to answer with, "" for the base model; backends without adapters refuse the
            call.
        about: Id of the user it is asked for, EMPTY for none; only recorded. No model sees it, and it is not part of
            the prompt's key (`prompt_key`).
    """

    system: str
    context: str
    question: str
    choices: tuple[str, ...] = ()
    schema: str = ""
    max_tokens: int = 128
    temperature: float = 0.0
    seed: int = 0
    slots: int = 1
    adapter: str = ""
    about: int = EMPTY


class Completion(NamedTuple):
    """The answer to one Prompt.

    Attributes:
        text: The answer; with choices, the likeliest of them (one per slot, separated by spaces), or the generated text
            if no label was returned.
        logprobs: With choices, the natural-log probability of each among *all* tokens, in the order of the
            choices (so that exp and sum give the label mass), slot after slot; else ().
        prompt_tokens, output_tokens: Tokens read and generated, 0 if the backend does not report them.
        refused: Why the model can never answer this prompt (it is longer than its context, or the server rejects it);
            "" for an answer. Text and log-probabilities of a refused prompt are empty.
        bounds: Indices in `logprobs` of labels that the server did not return; their value is an upper bound, not an
            observation. () if every label was returned, as with every local model.
    """

    text: str
    logprobs: tuple[float, ...] = ()
    prompt_tokens: int = 0
    output_tokens: int = 0
    refused: str = ""
    bounds: tuple[int, ...] = ()


@dataclass(slots=True)
class Usage:
    """Counters of a backend or wrapper since its creation; they only grow.

    Attributes:
        calls: Prompts that reached the model.
        prompt_tokens, output_tokens: Tokens of those calls.
        cached_tokens: Prompt tokens that were served from a prefix cache.
        repeated_tokens: Prompt tokens in a prefix shared with an earlier prompt, in blocks of 16: what a prefix cache
            of a million tokens would have saved. Counted on the texts, so available for every model (`prefix_cache`).
        cache_hits: Prompts answered from a cache.
        duplicates: Prompts of one `generate` that equalled another one and were sent once.
        retries: Calls sent again after a failure.
        no_answers: Unusable answers (truncated, empty, an error with status 200), asked again.
        hedged: Calls sent a second time because the first was slow, or had failed before.
        mended: Answers with half a surrogate pair, which was replaced by a question mark.
        odd_counts: Answers with impossible token counts; they count as not reported.
        refused: Prompts that the model cannot answer.
        restarts: Engines that died and were started again.
        seconds: Wall time inside the model.
    """

    calls: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    repeated_tokens: int = 0
    cache_hits: int = 0
    duplicates: int = 0
    retries: int = 0
    no_answers: int = 0
    hedged: int = 0
    mended: int = 0
    odd_counts: int = 0
    refused: int = 0
    restarts: int = 0
    seconds: float = 0.0


def storable(text: str) -> str:
    """Make a text encodable for files and terminals: half a surrogate pair becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
