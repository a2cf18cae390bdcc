"""The language model of a job, with this machine's cache of answers around it."""

from __future__ import annotations

from recsim_llm.fetch import cache_dir
from recsim_llm.llm import CachedLLM, OpenAILLM, make_llm
from recsim_llm.llm.protocol import LLM


def cached_backend(spec: str) -> LLM:
    """The language model with the user's answer cache around it; a server is asked one small question first."""
    if spec == "uniform":
        return make_llm(spec)
    llm = make_llm(spec)
    if isinstance(llm, OpenAILLM):
        llm.check()
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    return CachedLLM(llm, folder / "answers.sqlite")
