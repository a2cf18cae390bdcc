"""LLMRank (Hou et al., ECIR 2024): a language model re-ranks the candidates of another policy."""

from recsim_llm.policies.llmrank.llmrank_policy import LLMRank, LLMRankOptions, RankingCost

__all__ = ["LLMRank", "LLMRankOptions", "RankingCost"]
