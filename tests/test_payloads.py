"""Every reader of a file that may come from a stranger is given files that run code when they are unpickled."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

from recsim_llm.agents.hybrid.calibration import Calibration
from recsim_llm.agents.hybrid.hybrid_users import HybridWeights
from recsim_llm.agents.llm.agentcf.agentcf_memories import AgentCFMemories
from recsim_llm.agents.personas.persona_file import read_personas
from recsim_llm.agents.society.graph.graph_files import load_graph
from recsim_llm.agents.statistical.statistical_users import StatisticalParameters
from recsim_llm.certificate import read_certificate
from recsim_llm.data import load_dataset
from recsim_llm.errors import RecsimError, SetAsideWarning
from recsim_llm.experiments.fidelity.external import read_predictions
from recsim_llm.experiments.simulation.interventions.interventions import kept_plan, load_interventions
from recsim_llm.experiments.studies.run_study import _claim, _learning_costs
from recsim_llm.experiments.studies.study import read_study
from recsim_llm.experiments.studies.study_plots import learning_curves
from recsim_llm.experiments.training.train_files import _read as read_training
from recsim_llm.experiments.training.train_files import read_curve
from recsim_llm.experiments.tuning.assessment.assess import _read_config
from recsim_llm.experiments.tuning.rehearsal import write_rehearsal
from recsim_llm.fetch import read_member
from recsim_llm.language.uniform import UniformLLM
from recsim_llm.language.wrappers.cache import CachedLLM
from recsim_llm.policies import load_policy
from recsim_llm.policies.classic.embeddings import EmbeddingPolicy
from recsim_llm.policies.planners.retriever import unpacked
from recsim_llm.policies.rl.offline.offline_data import OfflineLog
from recsim_llm.runs.catalogue import read_catalogue
from recsim_llm.runs.manifest import read_manifest
from recsim_llm.runs.recorded_context import load_people
from recsim_llm.runs.run import read_calls, read_events, read_steps
from recsim_llm.types import Prompt
from recsim_llm.untrusted import read_arrays, read_tensors

SYNTHETIC = "synthetic"


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.marker}",)


def _pickle(path: Path, payload: Payload) -> None:
    path.write_bytes(pickle.dumps(payload))


def _arrays(path: Path, payload: Payload) -> None:
    # Under every name that a reader asks for first.
    names = ("meta_format", "format", "user", "item", "obs", "thresholds")
    with path.open("wb") as file:
        np.savez(file, **dict.fromkeys(names, np.array([payload], dtype=object)))


def _array(path: Path, payload: Payload) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([payload], dtype=object))


def _tensors(path: Path, payload: Payload) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"algorithm": payload, "extra": {}}, path)


def _old_tensors(path: Path, payload: Payload) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"algorithm": payload, "extra": {}}, path, _use_new_zipfile_serialization=False)


def _hdf5(path: Path, payload: Payload) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file.create_dataset("_random_state", data=np.frombuffer(pickle.dumps(payload), dtype=np.byte))
        file["_random_state"].attrs["__data_type__"] = "Other"


def _parquet(path: Path, payload: Payload) -> None:
    # What pyarrow unpickled before version 14.0.1.
    extension = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(payload),
    }
    field = pa.field("user", pa.int64(), metadata=extension)
    pq.write_table(pa.table([pa.array([1])], schema=pa.schema([field])), path)


KINDS = [_pickle, _arrays, _array, _tensors, _old_tensors, _hdf5, _parquet]


def _in_folder(name: str, read: Callable[[Path], object]) -> tuple[str, Callable[[Path], object]]:
    return name, lambda path: read(path.parent)


def _plain_data(path: Path) -> object:
    items = pa.table({"item": ["a", "b"], "title": ["A", "B"]})
    ratings = pa.table({"user": ["u", "u"], "item": ["a", "b"], "rating": [1.0, 5.0]})
    for name, table in (("items", items), ("ratings", ratings)):
        if not any(path.parent.glob(f"{name}.*")):
            pq.write_table(table, path.parent / f"{name}.parquet")
    return load_dataset(path.parent)


def _study(path: Path) -> object:
    return _claim(read_study("quick"), path.parent)


def _study_curve(path: Path) -> object:
    training = path.parent / "seed0" / "training" / "a"
    training.mkdir(parents=True)
    path.rename(training / "curve.csv")
    return learning_curves(path.parent, "a")


def _study_costs(path: Path) -> object:
    study = read_study("quick")
    folder = path.parent / "trained" / "seed0"
    folder.mkdir(parents=True)
    path.rename(folder / path.name)
    return _learning_costs(study, replace(study.entries[0], policy="a", seeds=1), path.parent)


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "policy": ("policy.npz", load_policy),
    "policy in a policy": ("policy.npz", lambda path: unpacked(np.frombuffer(path.read_bytes(), np.uint8))),
    "embeddings": ("vectors.npz", lambda path: EmbeddingPolicy.learn_from(sp.csr_array((2, 2)), 0, vectors=path)),
    "offline log": ("log.npz", OfflineLog.load),
    "statistical users": ("users.npz", StatisticalParameters.load),
    "calibration": ("calibration.json", Calibration.load),
    "weights of the hybrid": ("hybrid.json", HybridWeights.load),
    "certificate": ("certificate.json", read_certificate),
    "personas": ("people.json", lambda path: read_personas(path, load_dataset(SYNTHETIC), [])),
    "memories of agentcf": ("state.json", lambda path: AgentCFMemories.load(path, load_dataset(SYNTHETIC).catalogue)),
    "social graph": ("graph.csv", lambda path: load_graph(path, load_dataset(SYNTHETIC).people)),
    "interventions": ("plan.toml", lambda path: load_interventions(path, load_dataset(SYNTHETIC), ["random"])),
    "study": ("study.toml", lambda path: read_study(str(path))),
    "study folder": ("study.json", _study),
    "table of another simulator": ("table.csv", read_predictions),
    "Parquet of another simulator": ("table.parquet", read_predictions),
    "run": _in_folder("run.json", read_manifest),
    "people of a run": _in_folder("people.json", load_people),
    "catalogue of a run": _in_folder("catalogue.parquet", read_catalogue),
    "interventions of a run": _in_folder("interventions.json", kept_plan),
    "steps": ("part-000000.parquet", read_steps),
    "calls": ("part-000000.parquet", read_calls),
    "events": ("part-000000.parquet", read_events),
    "training": ("training.json", read_training),
    "learning curve": ("curve.csv", read_curve),
    "learning curve of a study": ("curve.csv", _study_curve),
    "costs of a study": ("a.npz.costs.json", _study_costs),
    "tuned folder": _in_folder("tuning.json", _read_config),
    "rehearsal": ("rehearsal.json", lambda path: write_rehearsal(path, UniformLLM(), [])),
    "arrays": ("assessment.npz", read_arrays),
    "tensors": ("state.pt", read_tensors),
    "ratings as Parquet": ("ratings.parquet", _plain_data),
    "ratings as CSV": ("ratings.csv", _plain_data),
    "items as Parquet": ("items.parquet", _plain_data),
    "about a data set": ("dataset.json", _plain_data),
    "atomic files": ("data.inter", lambda path: load_dataset(path.parent)),
    "maps of BiLLP": ("datamaps.json", lambda path: load_dataset(path.parent)),
    "archive": ("data.zip", lambda path: read_member(path, "data")),
}


ARE_TOLD_OTHERWISE = {"policy in a policy"}
"""Their errors do not name the file: it is a temporary one."""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__.strip("_"))
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_runs_what_a_file_brings_along(reader: str, kind: Callable[[Path, Payload], None], tmp_path: Path):
    name, read = READERS[reader]
    (tmp_path / "folder").mkdir()
    kind(tmp_path / "folder" / name, Payload(tmp_path / "marker"))
    with pytest.raises(RecsimError) as caught:
        read(tmp_path / "folder" / name)
    assert name in str(caught.value) or reader in ARE_TOLD_OTHERWISE
    assert not (tmp_path / "marker").exists()


def test_the_payload_works(tmp_path: Path) -> None:
    """Or the test above could not fail."""
    for kind, read in (
        (_pickle, lambda path: pickle.loads(path.read_bytes())),
        (_arrays, lambda path: np.load(path, allow_pickle=True)["user"]),
        (_array, lambda path: np.load(path, allow_pickle=True)),
    ):
        kind(tmp_path / "file", Payload(tmp_path / "marker"))
        read(tmp_path / "file")
        assert (tmp_path / "marker").exists()
        (tmp_path / "marker").unlink()


@pytest.mark.parametrize("name", ["replay.npz", "replay.h5", "algorithm.pt"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__.strip("_"))
def test_a_checkpoint_runs_nothing(name: str, kind: Callable[[Path, Payload], None], tmp_path: Path) -> None:
    pytest.importorskip("tianshou")
    from recsim_llm.policies.rl.item_vectors import ItemStart
    from recsim_llm.policies.rl.learners import make_learner
    from recsim_llm.policies.rl.settings import DQNSettings

    size = 4
    start = ItemStart(0.0, np.zeros(6, np.float32), np.zeros((6, size), np.float32), np.zeros((6, 6), np.float32))
    settings = DQNSettings(embedding_size=size, hidden_size=4, buffer_size=20)
    learner = make_learner("dqn", start, settings, 2, 100)
    learner.save(tmp_path / "checkpoint")
    learner.load(tmp_path / "checkpoint")
    if name == "replay.h5":  # where older versions kept what is now in `replay.npz`
        (tmp_path / "checkpoint" / "replay.npz").unlink(missing_ok=True)
    kind(tmp_path / "checkpoint" / name, Payload(tmp_path / "marker"))
    with pytest.raises(RecsimError, match="checkpoint"):
        learner.load(tmp_path / "checkpoint")
    assert not (tmp_path / "marker").exists()


def test_an_answer_cache_runs_nothing(tmp_path: Path) -> None:
    path, prompt = tmp_path / "answers.sqlite", Prompt("s", "c", "q", ("Yes", "No"))
    _pickle(path, Payload(tmp_path / "marker"))
    with pytest.warns(SetAsideWarning):
        CachedLLM(UniformLLM(), path).generate([prompt])
    evil = pickle.dumps(Payload(tmp_path / "marker"))
    for column, value in (("text", evil), ("logprobs", evil + b"." * (1 - len(evil) % 2)), ("output_tokens", evil)):
        with sqlite3.connect(path) as db:
            db.execute(f"UPDATE answers SET {column} = ?", (value,))
        llm = CachedLLM(UniformLLM(), path)
        with pytest.warns(SetAsideWarning, match="it holds"):
            assert llm.generate([prompt]) == UniformLLM().generate([prompt])
        llm.close()
    assert not (tmp_path / "marker").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")  # torch's, before it refuses
@pytest.mark.parametrize("kind", [_pickle, _tensors, _old_tensors], ids=lambda kind: kind.__name__.strip("_"))
def test_a_model_folder_runs_nothing(kind: Callable[[Path, Payload], None], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from recsim_llm.language.model_files import load_model

    folder = _tiny_model(tmp_path / "model")
    load_model(str(folder), torch.device("cpu"), torch.float32)
    (folder / "model.safetensors").unlink()
    kind(folder / "pytorch_model.bin", Payload(tmp_path / "marker"))
    with pytest.raises(RecsimError):
        load_model(str(folder), torch.device("cpu"), torch.float32)
    assert not (tmp_path / "marker").exists()


@pytest.mark.slow
def test_code_in_a_model_folder_is_not_run(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from recsim_llm.language.model_files import load_model

    folder = _tiny_model(tmp_path / "model")
    (folder / "own.py").write_text(f"import os\nos.system('touch {tmp_path / 'marker'}')\nclass Own: ...\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(RecsimError):
        load_model(str(folder), torch.device("cpu"), torch.float32)
    assert not (tmp_path / "marker").exists()


@pytest.mark.slow
def test_code_in_an_encoder_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentence_transformers")
    from recsim_llm.language.encoders import make_encoder
    from recsim_llm.policies.grounding import make_title_encoder

    folder = _tiny_model(tmp_path / "encoder")
    (folder / "own.py").write_text(f"import os\nos.system('touch {tmp_path / 'marker'}')\nclass Own: ...\n")
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "own.Own"}]))
    monkeypatch.syspath_prepend(folder)
    for make in (make_encoder, make_title_encoder):
        with pytest.raises(RecsimError):
            make(str(folder))
    assert not (tmp_path / "marker").exists()


def _tiny_model(folder: Path) -> Path:
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=2, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
