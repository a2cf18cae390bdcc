"""Tokenises prompts with the model's chat template, cut into pieces that prompts share exactly.

The template is rendered once with placeholders for the texts. System, context and question are then encoded
separately, with special tokens in them taken literally: an item title cannot end a message. Pieces encoded separately
can differ by a token at the seams from a text encoded as a whole; in return equal texts always give equal tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from recsim_llm.errors import LLMError
from recsim_llm.language.slots import SlotTokens
from recsim_llm.types import Prompt

_SYSTEM, _USER = "RECSIMSYSTEMMARK", "RECSIMUSERMARK"
VERSION = 1
"""Version of the layout, part of the model's name, because another layout gives other answers."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """The template's text around system and user message; `label_prefix` comes between `tail` and an answer."""

    head: str
    middle: str
    tail: str
    label_prefix: str = ""


class ChatLayout:
    """Encodes prompts for one tokenizer.

    Args:
        tokenizer: A Hugging Face tokenizer; without a chat template, plain lines ending in "Answer:" are used.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._with_system = _frame(tokenizer, with_system=True)
        self._without = _frame(tokenizer, with_system=False)
        self._encode_frame = lru_cache(maxsize=64)(self._encode_special)
        self.labels = lru_cache(maxsize=1024)(self._labels)
        """`labels(choices, with_system)`: ids of each choice as they follow the generation prompt."""
        self.slot_tokens = lru_cache(maxsize=1024)(self._slot_tokens)
        """`slot_tokens(choices, with_system)`: ids of the labels in answers of several labels."""

    def system(self, prompt: Prompt) -> list[int]:
        """Ids up to the beginning of the user message; never empty."""
        frame = self._frame(prompt)
        content = self._encode(prompt.system) if prompt.system else []
        ids = [*self._encode_frame(frame.head), *content, *self._encode_frame(frame.middle)]
        return ids or [self._start_id()]

    def context(self, prompt: Prompt) -> list[int]:
        """Ids of the context; empty if there is none."""
        return self._encode(prompt.context) if prompt.context else []

    def context_starts(self, prompt: Prompt) -> dict[int, int]:
        """Map from character position to the token of the context that starts there; empty without offset support."""
        if not self._tokenizer.is_fast:
            return {}
        text = self._tokenizer(
            prompt.context, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
        )
        return {start: place for place, (start, _) in enumerate(text["offset_mapping"])}

    def question(self, prompt: Prompt) -> list[int]:
        """Ids of the question, with its schema if any, up to the start of the model's answer."""
        text = f"\n{prompt.question}" if prompt.context else prompt.question
        if prompt.schema:
            text += f"\nAnswer with JSON that follows this schema: {prompt.schema}"
        return [*self._encode(text), *self._encode_frame(self._frame(prompt).tail)]

    def prompt(self, prompt: Prompt) -> list[int]:
        """Ids of the whole prompt, in one piece."""
        return [*self.system(prompt), *self.context(prompt), *self.question(prompt)]

    def answer(self, text: str) -> list[int]:
        """Ids of an answer text, without the end token."""
        return self._encode(text)

    def answer_tokens(self, prompt: Prompt) -> int:
        """Most tokens that are read or generated after a prompt for its answer."""
        if not prompt.choices:
            return prompt.max_tokens
        return self.slot_tokens(prompt.choices, bool(prompt.system)).fed(prompt.slots) if prompt.slots > 1 else 0

    def too_long(self, tokens: int, context_length: int | None) -> str:
        """Why a prompt of this many tokens, with its answer, is refused; "" if it fits."""
        if context_length is None or tokens <= context_length:
            return ""
        return (
            f"The prompt needs {tokens} tokens with its answer, the model reads {context_length}. "
            "Shorten the agent's memory or the page, lower max_tokens, or take a model with a longer context."
        )

    def decode(self, ids: list[int]) -> str:
        """The text of an answer."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def _labels(self, choices: tuple[str, ...], with_system: bool) -> tuple[tuple[int, ...], ...]:
        frame = self._with_system if with_system else self._without
        encoded = tuple(self._label(frame, choice) for choice in choices)
        if not all(encoded) or len(set(encoded)) < len(encoded):
            raise LLMError(f"The choices {choices} are empty or not told apart by this model's tokenizer; rename them.")
        return encoded

    def _slot_tokens(self, choices: tuple[str, ...], with_system: bool) -> SlotTokens:
        frame = self._with_system if with_system else self._without
        first = self.labels(choices, with_system)
        behind = [{self._behind(frame, one, other) for one in choices} for other in choices]
        same = [ids for found in behind if len(found) == 1 for ids in found if ids]
        gaps, later = {ids[:-1] for ids in same}, tuple(ids[-1] for ids in same)
        if any(len(ids) != 1 for ids in first) or len(gaps) != 1 or len(set(later)) < len(choices):
            raise LLMError(
                f"An answer of several slots needs choices of one token each, and {choices} are not, for this model. "
                "Take digits or letters."
            )
        return SlotTokens(tuple(ids[0] for ids in first), later, gaps.pop())

    def _behind(self, frame: _Frame, one: str, other: str) -> tuple[int, ...]:
        """Ids of " other" after "one" at the beginning of an answer."""
        start = self._encode_special(frame.tail + frame.label_prefix + one)
        both = self._encode_special(f"{frame.tail}{frame.label_prefix}{one} {other}")
        return both[len(start) :] if both[: len(start)] == start else tuple(self._encode(f" {other}"))

    def _label(self, frame: _Frame, choice: str) -> tuple[int, ...]:
        # Encoded after the generation prompt, because many tokenizers encode a word differently at the start of a
        # text; if the two would merge into one token, the label alone is the best approximation.
        tail = self._encode_frame(frame.tail)
        both = self._encode_special(frame.tail + frame.label_prefix + choice)
        whole = tail and both[: len(tail)] == tail
        return both[len(tail) :] if whole else tuple(self._encode(frame.label_prefix + choice))

    def _frame(self, prompt: Prompt) -> _Frame:
        return self._with_system if prompt.system else self._without

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _encode_special(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"]) if text else ()

    def _start_id(self) -> int:
        ids = (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id)
        return next((int(each) for each in ids if each is not None), 0)


def _frame(tokenizer: Any, with_system: bool) -> _Frame:
    if not getattr(tokenizer, "chat_template", None):
        bos = tokenizer.decode(tokenizer("")["input_ids"])  # "" if the tokenizer prepends nothing
        return _Frame(bos, "\n\n" if with_system else "", "\nAnswer:", " ")
    rendered = _render(tokenizer, with_system)
    head, _, rest = rendered.partition(_SYSTEM) if with_system else ("", "", rendered)
    middle, found, tail = rest.partition(_USER)
    if not found or (with_system and not _):
        raise LLMError("This model's chat template does not show the messages as they are; take another model.")
    return _Frame(head, middle, tail)


def _render(tokenizer: Any, with_system: bool) -> str:
    from jinja2 import TemplateError

    user = {"role": "user", "content": _USER}
    if not with_system:
        return _apply(tokenizer, [user])
    try:
        return _apply(tokenizer, [{"role": "system", "content": _SYSTEM}, user])
    except TemplateError:  # some models (Gemma) have no system role: its text is prepended to the user's
        return _apply(tokenizer, [{"role": "user", "content": f"{_SYSTEM}\n\n{_USER}"}])


def _apply(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    # Templates that print today's date take it from `date_string`: an answer must not depend on the clock.
    # Models with hidden reasoning are told to answer without it; other templates ignore both arguments.
    options = {"date_string": "1 January 2025", "enable_thinking": False}
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **options))
