"""Gymnasium environments in which simulated users respond to pages. Registered when `recsim_llm` is imported."""

from gymnasium.envs.registration import register


def register_environments() -> None:
    """Register all ids. Entry points are strings, so that specs can be stored and nothing heavy is imported."""
    for name, module in (("Page", "page"), ("Item", "page")):
        register(
            id=f"recsim_llm/{name}-v0",
            entry_point=f"recsim_llm.environments.{module}:{name}Env",
            vector_entry_point=f"recsim_llm.environments.vector:{name}VectorEnv",
        )
    register(
        id="recsim_llm/Request-v0",
        entry_point="recsim_llm.environments.page:PageEnv",
        vector_entry_point="recsim_llm.environments.vector:PageVectorEnv",
        kwargs={"max_pages": 1},
    )
    register(
        id="recsim_llm/CrossSession-v0",
        entry_point="recsim_llm.environments.cross_session:CrossSessionEnv",
        vector_entry_point="recsim_llm.environments.cross_session:CrossSessionVectorEnv",
    )
    register(
        id="recsim_llm/LongTerm-v0",
        entry_point="recsim_llm.environments.long_term:LongTermEnv",
        vector_entry_point="recsim_llm.environments.long_term:LongTermVectorEnv",
    )
    register(
        id="recsim_llm/Society-v0",
        entry_point="recsim_llm.environments.society_env:SocietyEnv",
        vector_entry_point="recsim_llm.environments.society_env:SocietyVectorEnv",
    )
