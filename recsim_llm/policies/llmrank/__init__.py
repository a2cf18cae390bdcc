"""LLMRank (Hou et al., ECIR 2024): a language model re-ranks the candidates of another policy."""

from recsim_llm.policies.llmrank.llmrank_policy import Cost, LLMRank, LLMRankOptions

__all__ = ["Cost", "LLMRank", "LLMRankOptions"]
