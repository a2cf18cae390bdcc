"""Language models for tests and benchmarks: scripted, computed and misbehaving."""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from struct import unpack
from typing import Any, NamedTuple

from recsim_llm.errors import ConfigError, LLMError
from recsim_llm.language.protocol import LLM, Usage
from recsim_llm.language.slots import likeliest
from recsim_llm.types import Completion, Prompt

Answer = Completion | str | Sequence[float]
"""A completion; or its text (for several slots: labels separated by spaces); or, with choices, their probabilities
(which need not sum to 1), slot after slot."""

_REFUSAL = "I'm sorry, but I can't help with that."
_REFUSED_LOGPROB = math.log(1e-6)
_NAMED_LOGPROB = math.log(1 - 1e-3)
_LISTED = re.compile(r"^\d+\. (.*)$", re.MULTILINE)
_LEVEL = re.compile(r"\d+")


class FunctionLLM:
    """Answers each prompt with the result of a function.

    Args:
        fn: Called once per prompt, in order.
        name: The model's name.
    """

    def __init__(self, fn: Callable[[Prompt], Answer], name: str = "function") -> None:
        self._fn, self.name, self.usage = fn, name, Usage()

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt; exceptions of the function propagate."""
        fn = self._fn
        completions = []
        for prompt in prompts:
            answer = fn(prompt)
            completions.append(answer if type(answer) is Completion else _completion(prompt, answer))
        self.usage.calls += len(completions)
        return completions


class ScriptedLLM:
    """Gives prepared answers in order, and records the prompts.

    Args:
        answers: One per prompt.
        name: The model's name.

    Attributes:
        prompts: All prompts so far.
    """

    def __init__(self, answers: Iterable[Answer], name: str = "scripted") -> None:
        self._answers = iter(answers)
        self.name, self.usage = name, Usage()
        self.prompts: list[Prompt] = []

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt.

        Raises:
            LLMError: No answers are left.
        """
        return [self._next(prompt) for prompt in prompts]

    def _next(self, prompt: Prompt) -> Completion:
        self.prompts.append(prompt)
        try:
            answer = next(self._answers)
        except StopIteration:
            raise LLMError(f"The script has no answer left for prompt {len(self.prompts)}: {prompt.question}") from None
        self.usage.calls += 1
        return answer if isinstance(answer, Completion) else _completion(prompt, answer)


def _completion(prompt: Prompt, answer: Answer) -> Completion:
    if isinstance(answer, Completion):
        return answer
    if isinstance(answer, str):
        said = answer.split() if prompt.slots > 1 else [answer]
        said += [""] * (prompt.slots - len(said))
        named = [_NAMED_LOGPROB if c == word else _REFUSED_LOGPROB for word in said for c in prompt.choices]
        return Completion(answer, tuple(named))
    size = len(prompt.choices)
    if len(answer) != size * prompt.slots:
        slots = f" in {prompt.slots} slots" if prompt.slots > 1 else ""
        raise ConfigError(f"{len(answer)} probabilities for the {size} choices {prompt.choices}{slots}.")
    logprobs = tuple(math.log(max(float(p), 1e-30)) for p in answer)
    return Completion(likeliest(prompt.choices, logprobs), logprobs)


def hash_choice_llm(seed: int = 0) -> FunctionLLM:
    """Return a fast model (a few microseconds per prompt) whose answers are a pure function of prompt and seed.

    Choices get pseudo-random probabilities with a label mass between 0.9 and 1, drawn per slot; a text is a
    pseudo-random word.
    """
    stem = blake2b(str(seed).encode(), digest_size=64)

    def answer(prompt: Prompt) -> Completion:
        digest = stem.copy()
        # A separator is enough here, because the digest is not used as a key.
        digest.update("\x1f".join((*prompt[:3], *prompt.choices)).encode())
        if not prompt.choices:
            digest.update(f"{prompt.schema} {prompt.temperature} {prompt.seed}".encode())
            return Completion(f"answer-{digest.hexdigest()[:8]}"[: 4 * prompt.max_tokens])
        if prompt.slots == 1:
            return _hashed_choice(prompt.choices, digest.digest())
        return _hashed_slots(prompt, digest)

    return FunctionLLM(answer, name=f"hash-choice:{seed}")


def _hashed_slots(prompt: Prompt, digest: Any) -> Completion:
    logprobs: list[float] = []
    for slot in range(prompt.slots):
        one = digest.copy()
        if slot:  # slot 0 keeps the digest, so its label equals that of the same question with one slot
            one.update(f"slot {slot}".encode())
        logprobs += _hashed_choice(prompt.choices, one.digest()).logprobs
    return Completion(likeliest(prompt.choices, logprobs), tuple(logprobs), 0, 0)


def _hashed_choice(choices: tuple[str, ...], digest: bytes) -> Completion:
    words = unpack("<16I", digest)
    weights = [1 + (words[i % 16] ^ (i // 16 * 0x9E3779B9)) for i in range(len(choices))]
    shift = math.log((0.9 + 0.1 * (words[-1] >> 16) / 65_536) / sum(weights))
    logprobs = tuple([math.log(weight) + shift for weight in weights])
    return Completion(choices[weights.index(max(weights))], logprobs, 0, 0)


class Wish(NamedTuple):
    """The wish of one simulated user.

    Attributes:
        title: The one item they watch, as pages show it ("Blue Moon (1999)", or "Blue Moon" where no other title
            contains these words).
        level: Level of the rating they give it, 1..R.
    """

    title: str
    level: int = 5


def wishing_llm(wishes: Mapping[str, Wish]) -> FunctionLLM:
    r"""Return a model of users who each want one title: they watch it in any slot, and nothing else.

    It reads a prompt as a real model does: it finds the user in the context and the items in the question, so tests
    detect code that assigns answers to the wrong user or item. All labels are certain, and no user wants to leave.

    Args:
        wishes: Keyed by a phrase that identifies the user in the context: an age, a self-description. Users without any
            of these phrases want nothing.

    >>> ask = Prompt("", "A baker.", "1. Red Sun\n2. Blue Moon", ("0", "1", "2", "3"), slots=2)
    >>> wishing_llm({"baker": Wish("Blue Moon", 3)}).generate([ask])[0].text
    '0 3'
    """

    def answer(prompt: Prompt) -> Answer:
        wish = next((wish for phrase, wish in wishes.items() if phrase in prompt.context), None)
        shown = _LISTED.findall(prompt.question) or [prompt.question]
        wanted = [wish is not None and wish.title in line for line in shown]
        level = wish.level if wish else 1
        if not prompt.choices:
            return _wished_text(prompt, wish, wanted, level)
        labels = [_wished_label(prompt.choices, each, level) for each in wanted[: prompt.slots]]
        return [float(choice == label) for label in labels for choice in prompt.choices]

    return FunctionLLM(answer, name="wishing")


def _wished_label(choices: tuple[str, ...], wanted: bool, level: int) -> str:
    """Return Yes or No to a yes-no question; of levels, the wished or the lowest one; otherwise the first choice."""
    if _LEVEL.fullmatch(choices[0]):
        return str(level) if wanted else choices[0]
    return choices[0 if wanted or "No" not in choices else choices.index("No")]


def _wished_text(prompt: Prompt, wish: Wish | None, wanted: Sequence[bool], level: int) -> str:
    if not prompt.schema:
        return f"Enjoys {wish.title if wish else 'nothing'}."
    items = [
        {"item": i + 1, "align": each, "watch": each, "rating": level if each else 1, "feeling": "Just that one."}
        for i, each in enumerate(wanted)
    ]
    return json.dumps({"items": items})


@dataclass(slots=True)
class Misbehaviour:
    """Counts of the misbehaviour of a `MisbehavingLLM`, by kind."""

    malformed: int = 0
    refusing: int = 0
    leaking: int = 0
    failing: int = 0


class MisbehavingLLM:
    """Corrupts answers of another model, as a deterministic function of prompt, seed and number of times asked.

    So a repeated prompt may be answered correctly, the whole run is reproducible, and neither the order nor the size of
    batches changes which answers are corrupted.

    Args:
        llm: The wrapped model.
        seed: Seed for all random draws.
        malformed: Share of prompts answered with a wrong number of log-probabilities, NaN, an empty text or broken
            JSON, [0, 1].
        refusing: Share answered with a refusal; with choices, hardly any label mass.
        leaking: Share answered with the system prompt (not with choices).
        slow_s: Seconds added to every call.
        failing: Share of prompts that make the whole call raise an `LLMError`.

    Attributes:
        done: Counts by kind of misbehaviour.

    Raises:
        ConfigError: The shares add up to more than 1.
    """

    def __init__(
        self,
        llm: LLM,
        seed: int = 0,
        *,
        malformed: float = 0.0,
        refusing: float = 0.0,
        leaking: float = 0.0,
        slow_s: float = 0.0,
        failing: float = 0.0,
    ) -> None:
        if not 0 <= malformed + refusing + leaking + failing <= 1:
            raise ConfigError("The shares of malformed, refusing, leaking and failing prompts add up to more than 1.")
        self._llm, self._seed, self._slow_s = llm, seed, slow_s
        self._shares = (("failing", failing), ("malformed", malformed), ("refusing", refusing), ("leaking", leaking))
        self._asked: Counter[Prompt] = Counter()
        self.done = Misbehaviour()

    @property
    def name(self) -> str:
        """Name of the wrapped model, with a mark."""
        return f"misbehaving:{self._seed}:{self._llm.name}"

    @property
    def usage(self) -> Usage:
        """Counters of the wrapped model."""
        return self._llm.usage

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt, some of them badly.

        Raises:
            LLMError: A prompt was drawn to fail.
        """
        draws = [self._draw(prompt) for prompt in prompts]
        acts = [self._act(draw) for draw in draws]
        for act in filter(None, acts):
            setattr(self.done, act, getattr(self.done, act) + 1)
        time.sleep(self._slow_s)
        if "failing" in acts:
            raise LLMError(f"{self.name} fails on purpose. Ask again.")
        answers = self._llm.generate(prompts)
        return [_spoil(*each) for each in zip(acts, draws, prompts, answers, strict=True)]

    def _draw(self, prompt: Prompt) -> float:
        attempt = self._asked[prompt]
        self._asked[prompt] += 1
        digest = blake2b(repr((self._seed, attempt, tuple(prompt))).encode(), digest_size=8).digest()
        return float(unpack("<Q", digest)[0] / 2**64)

    def _act(self, draw: float) -> str:
        edge = 0.0
        for act, share in self._shares:
            edge += share
            if draw < edge:
                return act
        return ""


def _spoil(act: str, draw: float, prompt: Prompt, answer: Completion) -> Completion:
    if act == "malformed":
        return _malform(int(draw * 2**40) % 3, prompt, answer)
    if act == "refusing":
        return answer._replace(text=_REFUSAL, logprobs=(_REFUSED_LOGPROB,) * (len(prompt.choices) * prompt.slots))
    if act == "leaking" and not prompt.choices:
        return answer._replace(text=f"My instructions say: {prompt.system}")
    return answer


def _malform(way: int, prompt: Prompt, answer: Completion) -> Completion:
    if prompt.choices:
        logprobs = (answer.logprobs[:-1], (math.nan,) * len(answer.logprobs), ())[way]
        return answer._replace(text="", logprobs=logprobs)
    return answer._replace(text=("", '{"answer": ', answer.text[: len(answer.text) // 2])[way])
