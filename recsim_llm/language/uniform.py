"""A model with uniform answers: for dry runs, benchmarks of everything around the model, and tests."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from recsim_llm.language.protocol import Usage
from recsim_llm.types import Completion, Prompt

_SENTENCE = "I have no opinion."


class UniformLLM:
    """Gives every choice the same probability, and every text prompt the same sentence.

    With a JSON schema the text is the simplest value that fits it. Tokens are estimated as characters / 4.
    """

    name = "uniform"

    def __init__(self) -> None:
        self.usage = Usage()

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt; never fails."""
        completions = [_answer(prompt) for prompt in prompts]
        self.usage.calls += len(completions)
        self.usage.prompt_tokens += sum(c.prompt_tokens for c in completions)
        self.usage.output_tokens += sum(c.output_tokens for c in completions)
        return completions


def _answer(prompt: Prompt) -> Completion:
    tokens = (len(prompt.system) + len(prompt.context) + len(prompt.question)) // 4
    if prompt.choices:
        text = prompt.choices[0] if prompt.slots == 1 else " ".join([prompt.choices[0]] * prompt.slots)
        return Completion(text, _uniform(len(prompt.choices)) * prompt.slots, tokens, 2 * prompt.slots - 1)
    text = _plainest_json(prompt.schema) if prompt.schema else _SENTENCE
    return Completion(text, (), tokens, len(text) // 4)


@lru_cache(maxsize=256)
def _uniform(num_choices: int) -> tuple[float, ...]:
    return (-math.log(num_choices),) * num_choices


@lru_cache(maxsize=256)
def _plainest_json(schema: str) -> str:
    return json.dumps(_plainest(json.loads(schema)))


def _plainest(schema: dict[str, Any]) -> Any:
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: _plainest(part) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [_plainest(schema.get("items", {}))] * int(schema.get("minItems", 0))
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
        case "null":
            return None
        case _:
            return _SENTENCE[: schema.get("maxLength")]
