"""Nothing that a job writes or prints holds the key, even where the server quotes it in every text it writes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("aiohttp")

from mock_server import MockServer, problem

from recsim_llm.cli.command_line import main
from recsim_llm.cli.verbs.runs import simulate_command
from recsim_llm.runs import Run
from recsim_llm.runs.recorded_context import load_people

KEY = "sk-live-3f9c0a77-quoted-by-the-server"
SMALL = ["--dataset", "synthetic:0:60"]
USERS = ["--user-model", "recagent", *SMALL, "--users", "4"]


class Quoting(MockServer):
    """Writes the key that it was sent into every text, and once into an error."""

    def _completion(self, body):
        answer = super()._completion(body)
        message = answer["choices"][0]["message"]
        message["content"] += f" Your key is {KEY}."
        return answer


def quotes_once(question: str, attempt: int):
    return problem(503, f"busy; key {KEY}") if attempt == 0 and "1" in question else None


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("RECSIM_LLM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=["environment", "named"])
def llm(request, home, monkeypatch):
    """The line of a server's model: key and URL in the environment, or their names in the line."""
    with Quoting(key=KEY, fault=quotes_once) as server:
        if request.param == "environment":
            monkeypatch.setenv("OPENAI_API_KEY", KEY)
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            yield "openai:m"
        else:
            monkeypatch.setenv("MY_SERVER_KEY", KEY)
            yield f"openai:m?base_url={server.url}&api_key_env=MY_SERVER_KEY"
        assert server.paths["/v1/chat/completions"] > 10, "the server was asked, and it asks for the key"


def test_a_simulation_its_interviews_and_its_hints(llm, home, capsys, monkeypatch):
    main(["simulate", *USERS, "--llm", llm, "--pages", "2", "--page-size", "4", "--policy", "popularity", "actonly",
          "--policy-llm", llm, "--out", "runs"])  # fmt: skip
    run = Run(home / "runs" / "popularity")
    texts = [completion.text for completion in run.recorded_completions().values()]
    assert any("Your key is ***." in text for text in texts), "texts were written, and are kept"
    user = load_people(run.folder)[1][0]
    main(["interview", "runs/popularity", "Why?", "--user", user, "--llm", llm])
    main(["interview", "runs/popularity", "--llm", llm])
    main(["replay", "runs"])
    with monkeypatch.context() as patch:
        patch.setattr(simulate_command, "simulate", _interrupt)
        with pytest.raises(SystemExit):
            main(["simulate", *USERS, "--llm", llm])
    said = capsys.readouterr()
    assert "Your key is ***." in said.out
    assert KEY not in said.out + said.err
    assert places(KEY, home) == []
    assert any(path.suffix == ".sqlite" for path in home.rglob("*")), "the cache of answers was searched too"


@pytest.mark.slow
def test_certificates_calibrations_and_studies(llm, home, capsys):
    pytest.importorskip("matplotlib")
    few = ["--users", "6", "--rows", "2", "--resamples", "100"]
    with pytest.raises(SystemExit):  # of six people, so that it certifies nothing; it is written all the same
        main(["certify", *SMALL, "--user-model", "llm", "--llm", llm, *few, "--out", "certificate"])
    assert (home / "certificate" / "certificate.json").is_file()
    main(["calibrate", *SMALL, "--llm", llm, "--users", "10"])
    study = 'name = "s"\ndataset = "synthetic:0:60"\nusers = 2\nseeds = 1\npages = 2\npolicy_llm = "%s"\n'
    (home / "s.toml").write_text(f'{study % llm}[[policy]]\nname = "actonly"\n[[policy]]\nname = "random"\n')
    main(["study", "s.toml", "--out", "study"])
    main(["simulate", *SMALL, "--policy", "actonly", "--policy-llm", llm, "--users", "4", "--dry-run"])
    said = capsys.readouterr()
    assert KEY not in said.out + said.err
    assert places(KEY, home) == []
    assert (home / "certificate" / "certificate.json").exists()
    assert list((home / "study").rglob("*.parquet"))


def test_the_search_finds_what_is_hidden_in_columns_databases_and_archives(tmp_path):
    words = [f"{i} {KEY} {i}" for i in range(50)]
    pq.write_table(pa.table({"text": words}), tmp_path / "a.parquet", compression="zstd")
    np.savez_compressed(tmp_path / "b.npz", text=np.array(words))
    with sqlite3.connect(tmp_path / "c.sqlite") as db:
        db.execute("CREATE TABLE t (x)")
        db.execute("INSERT INTO t VALUES (?)", (KEY,))
    db.close()
    (tmp_path / "d.html").write_text(f"<p>{KEY}")
    (tmp_path / "clean.txt").write_text("no key")
    assert places(KEY, tmp_path) == ["a.parquet", "b.npz", "c.sqlite", "d.html"]


def places(secret: str, top: Path) -> list[str]:
    """Files below a folder that hold a text: in their bytes or name, in columns, rows of databases, or arrays."""
    return sorted(path.name for path in top.rglob("*") if path.is_file() and secret in f"{path} {_content(path)}")


def _content(path: Path) -> str:
    content = path.read_bytes().decode("latin-1")
    if path.suffix == ".parquet":
        content += str(pq.read_table(path).to_pylist()) + str(pq.read_schema(path).metadata)
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            content += "".join(str(arrays[name].tolist()) for name in arrays.files)
    elif path.suffix == ".sqlite":
        db = sqlite3.connect(path)
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        content += "".join(str(db.execute(f"SELECT * FROM {table}").fetchall()) for table in tables)
        db.close()
    return content


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
