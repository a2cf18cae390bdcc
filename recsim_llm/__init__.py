"""recsim_llm: LLM-powered users inside a Gymnasium environment, for recommender policies to practise on."""

__version__ = "0.1.0"
