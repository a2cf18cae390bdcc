from __future__ import annotations

import pytest

from recsim_llm.errors import ConfigError
from recsim_llm.language import make_llm
from recsim_llm.spec import parse_spec


def test_values_are_json_where_they_are_json():
    assert parse_spec("openai:a/b:c?timeout_s=2.5&concurrency=8&base_url=http://host/v1?x").options == {
        "timeout_s": 2.5,
        "concurrency": 8,
        "base_url": "http://host/v1?x",
    }


def test_a_model_may_hold_colons():
    assert parse_spec("python:my.module:make")[:2] == ("python", "my.module:make")


@pytest.mark.parametrize("text", ["uniform?x", "uniform?=1", "uniform?x=1&x=2"])
def test_broken_options_are_refused(text):
    with pytest.raises(ConfigError, match="name=value"):
        parse_spec(text)


@pytest.mark.parametrize("text", ["", "gpt", "uniform:x", "vllm:", "ray", "telepathy:x"])
def test_what_is_no_model_is_refused(text):
    with pytest.raises(ConfigError, match="is no language model"):
        make_llm(text)


def test_an_unknown_option_names_those_there_are():
    with pytest.raises(ConfigError, match=r"no option devise\. Did you mean 'device'\? Options: device, dtype"):
        make_llm("transformers:smollm2-135m?devise=cpu")
    with pytest.raises(ConfigError, match="Options: none"):
        make_llm("uniform?x=1")


def test_your_own_model_is_a_function():
    assert make_llm("python:recsim_llm.testing.scripted:hash_choice_llm").name == "hash-choice:0"
    with pytest.raises(ConfigError, match="names no function"):
        make_llm("python:recsim_llm.nowhere:make")
