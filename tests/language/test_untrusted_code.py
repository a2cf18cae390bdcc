"""A model's folder with Python code of its own: nothing of it runs, nobody is asked, one sentence says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsim_llm.errors import ConfigError, UntrustedCodeError
from recsim_llm.experiments.tuning.tuning_memory import count_weights
from recsim_llm.experiments.tuning.writer import writer_of
from recsim_llm.language import make_llm
from recsim_llm.language.encoders import SentenceEncoder
from recsim_llm.language.model_files import fingerprint, load_model, load_tokenizer
from recsim_llm.policies.grounding import SentenceTitles

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

CODE = """
from pathlib import Path
Path({mark!r}).write_text("ran")
from transformers import LlamaConfig, LlamaForCausalLM
class OwnConfig(LlamaConfig):
    model_type = "own-and-unknown"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""
AUTO_MAP = {
    "AutoConfig": "own.OwnConfig",
    "AutoModel": "own.OwnModel",
    "AutoModelForCausalLM": "own.OwnModel",
    "AutoTokenizer": ["own.OwnTokenizer", None],
}
ASKED = "brings Python code of its own, which was not run"


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "mark"


@pytest.fixture
def folder(tmp_path, mark, monkeypatch):
    """A model of an unknown kind whose files name a Python file that leaves a mark."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    path = tmp_path / "model"
    path.mkdir()
    (path / "own.py").write_text(CODE.format(mark=str(mark)))
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = {"model_type": "own-and-unknown", "auto_map": AUTO_MAP, "architectures": ["OwnModel"], "vocab_size": 9}
    (path / "config.json").write_text(json.dumps(config | small))
    (path / "tokenizer_config.json").write_text(json.dumps({"auto_map": AUTO_MAP, "tokenizer_class": "OwnTokenizer"}))
    return path


@pytest.mark.parametrize(
    "load",
    [
        lambda folder: make_llm(f"transformers:{folder}"),
        lambda folder: make_llm(f"transformers:{folder}?trust_remote_code=false"),
        lambda folder: load_model(folder, "cpu", torch.float32),
        load_tokenizer,  # what vLLM's engine begins with
        count_weights,  # what tuning begins with
    ],
    ids=["backend", "said no", "model", "tokenizer", "tuning"],
)
def test_no_code_of_a_model_runs(folder, mark, load):
    with pytest.raises(UntrustedCodeError, match=ASKED) as caught:
        load(str(folder))
    assert "trust_remote_code=true" in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize("make", [SentenceEncoder, SentenceTitles])
def test_no_code_of_an_encoder_runs(folder, mark, make):
    pytest.importorskip("sentence_transformers")
    with pytest.raises(UntrustedCodeError, match=ASKED):
        make(str(folder))
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "own.OwnModel"}]))
    with pytest.raises(UntrustedCodeError, match=ASKED):
        make(str(folder))
    assert not mark.exists()


def test_code_runs_where_it_is_allowed(folder, mark):
    """The mark is left, so the tests above can fail; the folder has no weights, so nothing is loaded."""
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever a folder without weights and tokenizer leads to
        make_llm(f"transformers:{folder}?trust_remote_code=true")
    if not mark.exists():
        from transformers import AutoConfig

        AutoConfig.from_pretrained(folder, trust_remote_code=True)
    assert mark.read_text() == "ran"


@pytest.mark.parametrize("word", ["False", "no", "1", "null"])
def test_words_do_not_count_as_yes(folder, mark, word):
    with pytest.raises(ConfigError, match="trust_remote_code must be true or false, not "):
        make_llm(f"transformers:{folder}?trust_remote_code={word}")
    assert not mark.exists()


def test_code_that_runs_is_part_of_the_models_identity(folder):
    names = fingerprint("m", folder), fingerprint("m", folder, with_code=True)
    (folder / "own.py").write_text("changed = True")
    assert fingerprint("m", folder) == names[0]
    assert fingerprint("m", folder, with_code=True) != names[1]


def test_a_tuned_folder_gives_no_options(tmp_path: Path):
    (tmp_path / "tuning.json").write_text(json.dumps({"config": {"model": "/evil?trust_remote_code=true"}}))
    with pytest.raises(ConfigError, match="has options, which only a command line may give"):
        writer_of(f"transformers:{tmp_path}")
