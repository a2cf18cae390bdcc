"""A tuning, with a model of two layers: what is taught is what agents ask; it learns, and survives what may happen."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tiny_model import save_tiny_model

from recsim_llm.agents.fitted_sources import Source
from recsim_llm.agents.population import make_population
from recsim_llm.cli.verbs.learning.assess_command import run_assess
from recsim_llm.cli.verbs.learning.tune_command import tuned_table
from recsim_llm.data import load_dataset
from recsim_llm.errors import ConfigError, LLMError, RecordingError
from recsim_llm.experiments.tuning import tuning_memory
from recsim_llm.experiments.tuning.assessment.assess import AssessConfig, assess, report
from recsim_llm.experiments.tuning.encoding import Encoder, batch_of, packed
from recsim_llm.experiments.tuning.learner import TuningLearner, load_tensors
from recsim_llm.experiments.tuning.lessons import Curriculum
from recsim_llm.experiments.tuning.task import TuneConfig, make_task
from recsim_llm.experiments.tuning.tune import tune
from recsim_llm.experiments.tuning.writer import writer_of
from recsim_llm.language.backends.transformers.transformers_backend import TransformersLLM
from recsim_llm.language.model_files import load_model
from recsim_llm.types import Prompt

torch = pytest.importorskip("torch")
if find_spec("peft") is None:  # importing it takes seconds of every run
    pytest.skip("peft is not installed", allow_module_level=True)
WORLD = "synthetic:0:60"
RATINGS = ("1", "2", "3", "4", "5")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def config(tiny: Path, tmp_path: Path) -> TuneConfig:
    return TuneConfig(
        dataset=WORLD,
        model=str(tiny),
        out=tmp_path / "tuned",
        split="random",
        rate=3e-3,
        steps=20,
        batch=2,
        rehearse=3,
        progress=False,
    )


def test_what_is_taught_is_what_agents_ask(tiny: Path) -> None:
    """The same probabilities for every question, whether it stands in a lesson or is asked on its own."""
    model, tokenizer, _ = load_model(str(tiny), torch.device("cpu"), torch.float32)
    task = make_task(TuneConfig(dataset=WORLD))
    lessons = list(Curriculum(task.data, task.train, task.learners).epoch(0))[:3]
    encoder = Encoder(tokenizer, [RATINGS])
    rated = [
        replace(lesson, asked=tuple(a for a in lesson.asked if len(a.choices) == 5), told=()) for lesson in lessons
    ]
    llm = TransformersLLM(str(tiny))
    prompts = [Prompt(lesson.system, lesson.context, a.question, a.choices) for lesson in rated for a in lesson.asked]
    alone = np.array([c.logprobs for c in llm.generate(prompts)])
    learner = TuningLearner(model)
    learner._precision = torch.float32
    for most in (1, 100_000):  # one lesson at a time, and all behind one another
        learner._most = most
        together = learner.ask(rated, [encoder.lesson(lesson) for lesson in rated])
        expected = np.exp(alone) / np.exp(alone).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(together.pmf, expected, atol=2e-4)


def test_the_stars_of_the_history_are_guessed_where_they_stand(tiny: Path) -> None:
    _, tokenizer, _ = load_model(str(tiny), torch.device("cpu"), torch.float32)
    task = make_task(TuneConfig(dataset=WORLD))
    encoder = Encoder(tokenizer, [RATINGS])
    lessons = list(Curriculum(task.data, task.train, task.learners, teacher=0.0).epoch(0))
    told = [lesson for lesson in lessons if lesson.told]
    assert 0 < len(told) < len(lessons)  # of new people nothing is guessed that their description gives away
    for lesson in told:
        row = encoder.lesson(lesson)
        assert all(lesson.context[each.place :].startswith(str(each.target.index(1.0) + 1)) for each in lesson.told)
        kept = len(row.places) - len(lesson.asked)  # those that this tokenizer makes tokens of their own
        assert 0 < kept <= len(lesson.told)
        for place, target in zip(row.places[:kept], row.targets, strict=False):
            assert tokenizer.decode([row.ids[place + 1]]) == str(target.index(1.0) + 1)


def test_packs_hold_every_row_once(tiny: Path) -> None:
    _, tokenizer, _ = load_model(str(tiny), torch.device("cpu"), torch.float32)
    task = make_task(TuneConfig(dataset=WORLD))
    encoder = Encoder(tokenizer, [RATINGS])
    rows = [encoder.lesson(lesson) for lesson in Curriculum(task.data, task.train, task.learners).epoch(0)][:5]
    longest = max(len(row.ids) for row in rows)
    packs = list(packed(rows, 2 * longest))
    assert [row for pack in packs for row in pack] == rows
    assert 1 < len(packs) < len(rows)
    assert all(sum(len(row.ids) for row in pack) <= 2 * longest for pack in packs)
    assert len(batch_of(packs[0], "cpu", torch.float32)) == sum(len(row.places) for row in packs[0])


@pytest.mark.slow
def test_twenty_steps_teach_something(config: TuneConfig) -> None:
    done = tune(config)
    assert done.progress.step == 20
    assert done.ended == "20 steps are taken"
    assert done.after["log_loss"] < done.before["log_loss"] - 0.05
    assert "log-loss" in tuned_table(done)
    card, numbers = (config.out / "README.md").read_text(), json.loads((config.out / "tuning.json").read_text())
    assert "split 'random'" in card
    assert load_dataset(WORLD).licence in card
    assert "llm:tuned" in card
    assert numbers["after"] == done.after
    assert f"interviews ask {config.model}" in card
    for kind in ("transformers", "vllm"):
        assert writer_of(f"{kind}:{config.out}?dtype=float32") == f"{kind}:{config.model}?dtype=float32"
    assert writer_of(f"openai:{config.out}") == f"openai:{config.out}"
    users = make_population(Source(WORLD, "random"), "llm:tuned", TransformersLLM(str(config.out))).users
    sessions = np.arange(2)
    users.reset(sessions, sessions, np.zeros(2, dtype=np.uint64))
    reaction = users.react(sessions, np.arange(6).reshape(2, 3))
    np.testing.assert_allclose(reaction.rating_BKR.sum(axis=2), 1.0)
    with pytest.raises(ConfigError, match="holds a tuning already"):
        tune(config)


@pytest.mark.slow
def test_a_tuned_model_is_assessed_and_its_answers_are_kept(config: TuneConfig, capsys, monkeypatch) -> None:
    tune(replace(config, split="users", hold_items=0.2, steps=2))
    asked = AssessConfig(people=12, rows=10, progress=False)
    run_assess(config.out, asked)
    printed = capsys.readouterr().out
    assert "items removed from training" in printed
    assert len(re.findall(r"\| tuned \| \d", printed)) == 5
    assert "ease" in printed
    assert (config.out / "assessment" / "report-learned.md").read_text() in printed + "\n"
    monkeypatch.setattr(TuningLearner, "ask", None)  # nothing is asked twice
    found = assess(config.out, asked)
    assert report(found) in printed
    findings = [each.ratings for each in found]
    assert all(finding.over_cf for finding in findings if finding.ratings >= 100)
    for each in findings:  # a model that has learned nothing is not believed
        assert each.scores["hybrid"]["log_loss"] < each.scores["cf"]["log_loss"] + 0.02


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.slow
def test_a_resumed_tuning_ends_as_one_without_a_break(config: TuneConfig) -> None:
    config = replace(config, steps=5, batch=1)
    whole = tune(replace(config, out=config.out / "whole"))
    parted = replace(config, out=config.out / "parted", check_minutes=1e-9, patience=100)
    for _ in _killed_after_a_checkpoint(parted):
        done = tune(replace(parted, resume=True))
    assert done.progress.step == whole.progress.step == 5
    last = [load_tensors(tuned.folder / "tuning" / "checkpoint.pt")["learner"]["weights"] for tuned in (whole, done)]
    for name, weight in last[0].items():
        torch.testing.assert_close(weight, last[1][name])


def _killed_after_a_checkpoint(config: TuneConfig) -> list[int]:
    """Run a tuning in another process and kill it without a warning once it has written a checkpoint."""
    code = (
        "import sys; from pathlib import Path; from recsim_llm.experiments.tuning.tune import tune; "
        "from recsim_llm.experiments.tuning.task import TuneConfig; "
        f"tune(TuneConfig(dataset={config.dataset!r}, model={config.model!r}, out=Path({str(config.out)!r}), "
        f"split={config.split!r}, rate={config.rate}, steps={config.steps}, batch={config.batch}, "
        f"rehearse={config.rehearse}, "
        "check_minutes=1e-9, patience=100, progress=False))"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    until = time.monotonic() + 120
    while not (config.out / "tuning" / "checkpoint.pt").exists():
        assert child.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    return [child.wait()]


@pytest.mark.slow
def test_adapters_are_folded_in_and_kept(config: TuneConfig) -> None:
    done = tune(replace(config, lora_rank=4, steps=2, batch=1))
    assert (config.out / "adapter" / "adapter_config.json").exists()
    before, after = _weights(Path(config.model)), _weights(done.folder)
    changed = [name for name in before if not torch.equal(before[name].to(torch.bfloat16), after[name])]
    assert changed
    assert not [name for name in changed if "embed" in name]
    assert before.keys() == after.keys()


@pytest.mark.slow
def test_a_checkpoint_of_something_else_is_refused(config: TuneConfig, tmp_path: Path) -> None:
    config = replace(config, batch=1)
    tune(replace(config, steps=1))
    again = replace(config, resume=True)
    for other, says in (
        (replace(again, model=str(save_tiny_model(tmp_path / "wide", width=64))), "another model"),
        (replace(again, lora_rank=2), "another lora_rank"),
        (replace(again, dataset="synthetic:1:60"), "another dataset, data"),
    ):
        with pytest.raises(ConfigError, match=says):
            tune(other)
    (config.out / "tuning" / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(RecordingError, match="damaged"):
        tune(again)
    with pytest.raises(ConfigError, match="no tuning to go on with"):
        tune(replace(again, out=tmp_path / "nothing"))


def test_too_little_memory_is_said_before_the_first_step(config: TuneConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning_memory, "free_bytes", lambda cuda: 10**6)
    with pytest.raises(LLMError, match=r"needs about .* GiB; 0\.0 GiB of this machine are free"):
        tune(config)


def test_a_tokenizer_that_does_not_tell_labels_apart_is_refused(tiny: Path) -> None:
    from transformers import AutoTokenizer

    with pytest.raises(ConfigError, match="begins several of the labels"):
        Encoder(AutoTokenizer.from_pretrained(tiny), [tuple(str(n) for n in range(1, 11))])
