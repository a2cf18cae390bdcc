"""`python -m recsim_llm` is the command line `recsim-llm`."""

from recsim_llm.cli.command_line import main

main()
