"""recsim_llm: LLM-powered users inside a Gymnasium environment, for recommender policies to practise on.

Importing the package registers the environments; nothing heavy is imported and nothing is downloaded.

    import gymnasium, recsim_llm
    env = gymnasium.make("recsim_llm/Page-v0")
"""

from recsim_llm.environments import register_environments

__version__ = "0.1.0"

register_environments()
