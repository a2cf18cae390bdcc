"""What pytest must not import where it looks for doctests: a module that vLLM's engine imports, without vLLM."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("vllm") else ["recsim_llm/llm/vllm_slots.py"]
