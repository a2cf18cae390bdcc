"""The interview: nothing is asked before somebody has seen the prompt and said yes, and then exactly once."""

from __future__ import annotations

import json
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from recsim_llm.dashboard.person.interview_panel import HOSTS, check_model, plan_interview, refusal, where
from recsim_llm.dashboard.view import open_view
from recsim_llm.errors import ConfigError, LLMError, MissingExtraError
from recsim_llm.experiments import backend
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.testing.scripted import FunctionLLM
from recsim_llm.types import Completion

AGENTS = SimulationConfig(policies=("random",), users=2, pages=2, page_size=3, user_model="agent4rec", llm="uniform")
NASTY = "<script>alert(1)</script> **I** liked it"


def _panel(folder: str, person: str) -> None:
    from pathlib import Path

    from recsim_llm.dashboard.person.interview_panel import show_interview
    from recsim_llm.dashboard.view import open_view

    show_interview(open_view(Path(folder)), person, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (run,) = simulate(AGENTS, tmp_path_factory.mktemp("agents"), progress=False)
    return run.folder


@pytest.fixture
def person(folder: Path) -> str:
    return next(iter(open_view(folder).raw_ids.values()))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The prompts that reach a model; the model answers with markup."""
    prompts: list[object] = []

    def answer(prompt: object) -> Completion:
        prompts.append(prompt)
        return Completion(NASTY)

    @contextmanager
    def opened(spec: str):
        yield FunctionLLM(answer)

    monkeypatch.setattr(backend, "open_backend", opened)
    return prompts


def panel(folder: Path, person: str) -> AppTest:
    app = AppTest.from_function(_panel, args=(str(folder), person), default_timeout=60).run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click()
    app.run()
    assert not app.exception


def plan(app: AppTest, question: str) -> None:
    app.text_area[0].set_value(question)
    press(app, "Show what would be sent")


def html(app: AppTest) -> str:
    return "\n".join(element.proto.body for element in app.get("html"))


def test_nothing_is_asked_before_a_yes(folder, person, asked):
    app = panel(folder, person)
    assert app.text_input[0].value == "uniform"
    plan(app, "What did you like?")
    assert not asked
    written = open_view(folder)
    tokens = plan_interview(written, person, "What did you like?", "uniform").tokens
    assert f"about {tokens:,} tokens" in html(app)
    assert "at most 120 tokens" in html(app)
    assert "This will ask uniform once" in html(app)
    press(app, "Yes, ask now")
    assert len(asked) == 1
    assert "What did you like?" in asked[0].question
    assert "&lt;script&gt;" in html(app)
    assert "<script" not in html(app)
    app.run()  # looking again asks nothing
    assert len(asked) == 1
    assert not any(button.label == "Yes, ask now" for button in app.button)


def test_cancelled(folder, person, asked):
    app = panel(folder, person)
    plan(app, "Why?")
    press(app, "Cancel")
    assert not any(button.label == "Yes, ask now" for button in app.button)
    assert not asked


def test_a_plan_is_for_one_person(folder, asked):
    ids = list(open_view(folder).raw_ids.values())
    app = panel(folder, ids[0])
    plan(app, "Why?")
    app.args = (str(folder), ids[1])
    app.run()
    assert not any(button.label == "Yes, ask now" for button in app.button)


def test_an_empty_question_or_a_strange_model_is_refused(folder, person, asked):
    app = panel(folder, person)
    plan(app, "  ")
    assert "Write a question first" in app.error[0].value
    app.text_input[0].set_value("python:os:getcwd")
    plan(app, "Why?")
    assert "no model that is started from here" in app.error[0].value
    assert not asked


@pytest.mark.parametrize("error", [LLMError("The server is away."), MissingExtraError("torch", "llm", "This model")])
def test_a_model_that_cannot_be_started_is_a_sentence(folder, person, monkeypatch, error):
    @contextmanager
    def opened(spec: str):
        raise error
        yield

    monkeypatch.setattr(backend, "open_backend", opened)
    app = panel(folder, person)
    plan(app, "Why?")
    press(app, "Yes, ask now")
    said = app.error[0].value.replace("\\", "")
    assert said == str(error)


@pytest.mark.parametrize("model", ["transformers:smollm2-135m", "vllm:a/b", "openai:gpt", "uniform", " uniform "])
def test_models_that_may_be_started(model):
    assert check_model(model, "") == model.strip()


@pytest.mark.parametrize(
    "model", ["", "python:os:getcwd", "openai:gpt?base_url=http://elsewhere", "ray:x", "uniform:x", "vllm:", "vllm"]
)
def test_models_that_may_not(model):
    with pytest.raises(ConfigError, match="no model that is started from here"):
        check_model(model, "")


def test_the_runs_own_model_may_have_options():
    own = "vllm:a/b?max_model_len=512"
    assert check_model(own, own) == own
    with pytest.raises(ConfigError):
        check_model("python:a:b", "python:a:b")


@pytest.mark.parametrize(
    ("own", "env", "hosts", "said"),
    [
        ("openai:m?base_url=http://evil.example:8000/v1", "", (), "names the server evil.example:8000"),
        (
            "openai:m?base_url=http://evil.example/v1",
            "http://mine:8000/v1",
            ("other",),
            "names the server evil.example",
        ),
        ("openai:m?base_url=http://mine:9000/v1", "http://mine:8000/v1", (), "names the server mine:9000"),
        ("openai:m?base_url=http://api.openai.com/v1", "", (), "names the server api.openai.com"),  # not encrypted
        ("openai:m?base_url=https://api.openai.com.evil.example/v1", "", ("api.openai.com",), "names the server"),
        ("openai:m?base_url=http://mine:9000/v1", "", ("mine:8000",), "names the server mine:9000"),
        ("openai:m?base_url=http://mine:99999/v1", "", ("mine",), "base_url"),
        ("openai:m?base_url=http://mine:8000\\@evil.example/v1", "http://mine:8000/v1", (), "base_url"),
        ("openai:m?api_key_env=AWS_SECRET_ACCESS_KEY", "", (), "which variable of your environment"),
        ("openai:m?api_key=sk-planted", "", (), "keys come from the environment"),
        ("transformers:/tmp/x?trust_remote_code=true", "", (), "would run Python code"),
        ("vllm:x?trust_remote_code=1", "", (), "would run Python code"),
    ],
)
def test_a_run_chooses_no_server_no_key_and_no_code(own, env, hosts, said, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", env)
    with pytest.raises(ConfigError, match=said) as caught:
        check_model(own, own, hosts)
    assert "sk-planted" not in str(caught.value)


@pytest.mark.parametrize(
    ("own", "env", "hosts"),
    [
        ("openai:m", "", ()),
        ("openai:m?base_url=http://mine:8000/v1", "http://MINE:8000/v1/", ()),
        ("openai:m?base_url=https://api.openai.com/v1", "", ()),
        ("openai:m?base_url=http://other:9000/v1&api_key_env=OPENAI_API_KEY", "http://mine:8000/v1", ("x", "other")),
        ("openai:m?base_url=http://other:9000/v1", "", ("other:9000",)),
    ],
)
def test_servers_that_the_viewer_named_may_be_asked(own, env, hosts, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", env)
    assert check_model(own, own, hosts) == own


def test_the_key_does_not_travel_to_a_server_out_of_a_run_folder(folder, tmp_path, monkeypatch):
    """A run folder that names its own server, opened by somebody who has a key."""
    seen: list[str] = []

    class Evil(BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append(str(self.headers.get("Authorization")))
            self.send_error(500)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Evil) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-viewer")
        monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
        host = f"127.0.0.1:{server.server_port}"
        planted = with_model(folder, tmp_path, f"openai:m?base_url=http://{host}/v1&max_retries=0")
        app = panel(planted, next(iter(open_view(planted).raw_ids.values())))
        plan(app, "Why?")
        assert f"names the server {host}" in app.error[0].value.replace("\\", "").replace("\u2060", "")
        assert not any(button.label == "Yes, ask now" for button in app.button)
        assert seen == []
        app.session_state[HOSTS] = (host,)  # as --interview-host does
        plan(app, "Why?")
        assert f"It is sent to http://{host}/v1" in html(app)
        press(app, "Yes, ask now")
        assert seen
        assert set(seen) == {"Bearer sk-of-the-viewer"}
        server.shutdown()


def with_model(folder: Path, tmp_path: Path, llm: str) -> Path:
    """A copy of a run whose file says that this model played its people."""
    shutil.copytree(folder, tmp_path / "planted")
    path = tmp_path / "planted" / "run.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "config": {**manifest["config"], "llm": llm}}))
    return path.parent


def test_who_can_be_interviewed(folder):
    manifest = open_view(folder).manifest
    assert refusal(manifest) == ""
    assert "without memories" in refusal(replace(manifest, llm="", user_model="statistical"))


def test_statistical_people_are_not_asked(tmp_path, asked):
    config = SimulationConfig(policies=("random",), users=2, pages=1)
    (run,) = simulate(config, tmp_path, progress=False)
    app = panel(run.folder, "1")
    assert "nobody can interview them" in app.info[0].value.replace("\\", "")
    assert not app.button


def test_where_it_is_sent_is_said():
    assert "http://there:8000/v1" in where("openai:x?base_url=http://there:8000/v1")
    assert "not money" in where("transformers:x")
    assert "costs nothing" in where("uniform")


def test_earlier_moments_make_shorter_memories(folder, person):
    view = open_view(folder)
    late, early = (plan_interview(view, person, "Why?", "uniform", after) for after in (None, 0))
    assert early.tokens < late.tokens
