"""`python -m recsim_llm` is the command line `recsim-llm`."""

from recsim_llm.experiments.cli import main

main()
