"""Commands that list what can be named in an option: data sets, models, policies, agents, backends."""
