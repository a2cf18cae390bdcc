"""What pytest must not import where it looks for doctests, and what must be set before anything computes."""

import os
from importlib.util import find_spec

# MKL reads it at its first product, which may be another test's; `TransformersLLM` sets it where nothing came before.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

# A module that vLLM's engine imports, without vLLM.
collect_ignore = [] if find_spec("vllm") else ["recsim_llm/llm/vllm_slots.py"]
