"""A language model of two small layers: it learns within seconds, and nothing is fetched."""

from __future__ import annotations

from pathlib import Path

from recsim_llm.agents.llm.prompts_text import prompt_text
from recsim_llm.data import load_dataset

TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def save_tiny_model(folder: Path, width: int = 32, layers: int = 2, std: float = 0.1) -> Path:
    """Write a model with random weights and its tokenizer, whose pieces are words of the invented world."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    catalogue = load_dataset("synthetic").catalogue
    texts = [prompt_text("page", name) for name in ("phrases", "system", "interview")]
    texts += [f"Rates {item.label}, {', '.join(item.genres)}" for item in catalogue]
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1_500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    pieces.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="<|end|>", bos_token="<|start|>")
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8_192,
        tie_word_embeddings=True,
        initializer_range=std,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
