"""Logits processor inside vLLM's engine that restricts an answer of several slots to labels. Imported by vLLM alone.

The next token of such an answer is one of the slot's labels, or the gap after it. The sampled token is thus the
likeliest label, while the log-probabilities that vLLM returns are the unrestricted ("raw") ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

if TYPE_CHECKING:
    import torch

LINE = "recsim_llm_line"
"""Key of a request's `extra_args`: the tokens allowed at each position of its answer."""


class SlotLabels(AdapterLogitsProcessor):  # type: ignore[misc]
    """Allows at each position of an answer only the tokens that its request lists."""

    def is_argmax_invariant(self) -> bool:
        """False: the processor changes which token is the likeliest."""
        return False

    def new_req_logits_processor(self, params: Any) -> Any:
        """The processor of one request; None if the request is not for a line of labels."""
        line = (params.extra_args or {}).get(LINE)
        if line is None:
            return None

        def keep(output_ids: list[int], logits: torch.Tensor) -> torch.Tensor:
            allowed = line[min(len(output_ids), len(line) - 1)]
            kept = logits[allowed]
            logits.fill_(float("-inf"))
            logits[allowed] = kept
            return logits

        return keep
