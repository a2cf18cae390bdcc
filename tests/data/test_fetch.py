"""Downloads: right content or an error with a way out, and never half a file, even if the process is killed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

import pooch
import pytest
import requests

from recsim_llm import fetch
from recsim_llm.errors import DataError, DownloadError
from recsim_llm.fetch import cache_dir, download_path, fetch_from_wheel, fetch_url

URL = "https://example.org/some/data.zip"
CONTENT = b"content " * 1000
SUM = hashlib.sha256(CONTENT).hexdigest()
REQUIREMENT = "some-wheel==1.0"
MEMBERS = ["pack/a.txt", "pack/b.txt"]


class Downloader:
    """Stands in for pooch's: writes the content, or fails on the way."""

    content = CONTENT
    error: BaseException | None = None
    calls = 0

    def __init__(self, progressbar: bool, timeout: tuple[float, float]) -> None:
        assert progressbar
        assert timeout[0] <= 10

    def __call__(self, url: str, output_file: BinaryIO, pooch: object) -> None:
        type(self).calls += 1
        output_file.write(self.content[: len(self.content) // 2])
        if self.error is not None:
            raise self.error
        output_file.write(self.content[len(self.content) // 2 :])


@pytest.fixture
def downloader(monkeypatch: pytest.MonkeyPatch) -> type[Downloader]:
    fresh = type("Fresh", (Downloader,), {})
    monkeypatch.setattr(pooch, "HTTPDownloader", fresh)
    return fresh


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_cache_dir_follows_the_environment(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("RECSIM_LLM_HOME", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("RECSIM_LLM_HOME")
    assert cache_dir().name == "recsim-llm"


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, recsim_llm.fetch; assert not {'torch', 'pyarrow', 'pooch', 'requests'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_downloads_once(downloader, tmp_path) -> None:
    for _ in range(2):
        path = fetch_url(URL, SUM, tmp_path)
    assert path == download_path(URL, tmp_path)
    assert path.read_bytes() == CONTENT
    assert downloader.calls == 1
    assert files_below(tmp_path) == [path]


def test_a_file_put_there_by_hand_is_taken(downloader, tmp_path) -> None:
    path = download_path(URL, tmp_path)
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert fetch_url(URL, SUM, tmp_path) == path
    assert downloader.calls == 0


def test_a_wrong_file_put_there_by_hand_is_refused(downloader, tmp_path) -> None:
    path = download_path(URL, tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"other")
    with pytest.raises(DownloadError, match=rf"{path} is not the expected file.*Delete {path}"):
        fetch_url(URL, SUM, tmp_path)
    assert path.read_bytes() == b"other"


def test_wrong_checksum_tells_both_sums(downloader, tmp_path) -> None:
    downloader.content = b"a captive portal"
    found = hashlib.sha256(downloader.content).hexdigest()
    with pytest.raises(DownloadError, match=rf"{URL}.*{found}.*{SUM}.*[Tt]ry again.*{download_path(URL, tmp_path)}"):
        fetch_url(URL, SUM, tmp_path)
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    "error", [requests.ConnectionError("no route"), requests.Timeout("slow"), OSError("disk full")]
)
def test_no_network_names_url_folder_and_way_out(downloader, tmp_path, error) -> None:
    downloader.error = error
    path = download_path(URL, tmp_path)
    with pytest.raises(DownloadError, match=rf"{URL}.*{path.parent}.*{error}.*browser.*{path}.*RECSIM_LLM_HOME"):
        fetch_url(URL, SUM, tmp_path)
    assert files_below(tmp_path) == []


def test_a_cache_that_cannot_be_written(downloader, tmp_path) -> None:
    (tmp_path / "downloads").write_text("a file where a folder should be")
    with pytest.raises(DownloadError, match=r"Cannot write to the cache folder .*RECSIM_LLM_HOME"):
        fetch_url(URL, SUM, tmp_path)


def test_interrupted_downloads_leave_nothing(downloader, tmp_path) -> None:
    downloader.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        fetch_url(URL, SUM, tmp_path)
    assert files_below(tmp_path) == []


def test_killed_downloads_leave_no_file_under_the_name(downloader, tmp_path) -> None:
    code = f"""
    import os, signal, pathlib, pooch
    from recsim_llm.fetch import fetch_url
    def killed(url, output_file, pooch):
        output_file.write({CONTENT!r}[:100])
        output_file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    pooch.HTTPDownloader = lambda **options: killed
    fetch_url({URL!r}, {SUM!r}, pathlib.Path({str(tmp_path)!r}))
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert result.returncode == -9
    assert files_below(tmp_path) != []  # it was killed with something half written
    assert not download_path(URL, tmp_path).exists()
    assert fetch_url(URL, SUM, tmp_path).read_bytes() == CONTENT


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_the_real_downloader_against_a_server_on_this_machine(tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "data.zip").write_bytes(CONTENT)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        assert fetch_url(f"{base}/data.zip", SUM, tmp_path / "cache").read_bytes() == CONTENT
        assert "100%" in capfd.readouterr().err
        with pytest.raises(DownloadError, match="404"):
            fetch_url(f"{base}/none.zip", SUM, tmp_path / "cache")
        server.shutdown()
    with pytest.raises(DownloadError, match="Could not download"):
        fetch_url(f"{base}/data.zip", SUM, tmp_path / "other")


class Pip:
    """Stands in for `pip download`: leaves a wheel in the folder it was told."""

    def __init__(self, wheel: bytes, returncode: int = 0, stderr: str = "") -> None:
        self.wheel, self.returncode, self.stderr = wheel, returncode, stderr
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        if not self.returncode:
            folder = Path(command[command.index("--dest") + 1])
            (folder / "some_wheel-1.0-py3-none-any.whl").write_bytes(self.wheel)
        return subprocess.CompletedProcess(command, self.returncode, "", self.stderr)


@pytest.fixture
def wheel(tmp_path) -> bytes:
    path = tmp_path / "built.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member in MEMBERS:
            archive.writestr(member, member * 100)
    return path.read_bytes()


def use(monkeypatch: pytest.MonkeyPatch, pip: Pip) -> Pip:
    monkeypatch.setattr(fetch.subprocess, "run", pip)
    return pip


def test_members_of_a_wheel(monkeypatch, tmp_path, wheel) -> None:
    pip = use(monkeypatch, Pip(wheel))
    cache = tmp_path / "cache"
    digest = hashlib.sha256(wheel).hexdigest()
    for _ in range(2):
        paths = fetch_from_wheel(REQUIREMENT, digest, MEMBERS, cache)
    assert [path.read_text() for path in paths] == [member * 100 for member in MEMBERS]
    assert sorted(files_below(cache)) == sorted(paths)
    assert len(pip.commands) == 1
    assert pip.commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert "--no-deps" in pip.commands[0]
    assert pip.commands[0][-1] == REQUIREMENT


def test_another_wheel_than_expected(monkeypatch, tmp_path, wheel) -> None:
    use(monkeypatch, Pip(wheel))
    digest = hashlib.sha256(wheel).hexdigest()
    with pytest.raises(DownloadError, match=rf"some_wheel-1.0.*{digest}.*{SUM}.*Try again.*pip index"):
        fetch_from_wheel(REQUIREMENT, SUM, MEMBERS, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_wheel_without_the_member(monkeypatch, tmp_path, wheel) -> None:
    use(monkeypatch, Pip(wheel))
    with pytest.raises(DataError, match="has no member pack/c.txt"):
        fetch_from_wheel(REQUIREMENT, hashlib.sha256(wheel).hexdigest(), ["pack/c.txt"], tmp_path / "cache")
    assert files_below(tmp_path / "cache") == []


def test_a_broken_wheel(monkeypatch, tmp_path, wheel) -> None:
    half = wheel[: len(wheel) // 2]
    use(monkeypatch, Pip(half))
    with pytest.raises(DataError, match="is a broken archive"):
        fetch_from_wheel(REQUIREMENT, hashlib.sha256(half).hexdigest(), MEMBERS, tmp_path / "cache")


def test_no_pip(monkeypatch, tmp_path) -> None:
    use(monkeypatch, Pip(b"", 1, f"{sys.executable}: No module named pip"))
    with pytest.raises(DownloadError, match=r"has no pip.*some-wheel==1\.0.*ensurepip"):
        fetch_from_wheel(REQUIREMENT, SUM, MEMBERS, tmp_path)


def test_pip_fails(monkeypatch, tmp_path) -> None:
    use(monkeypatch, Pip(b"", 1, "ERROR: No matching distribution found"))
    with pytest.raises(
        DownloadError, match=r"pip could not download some-wheel==1\.0.*by hand.*No matching distribution"
    ):
        fetch_from_wheel(REQUIREMENT, SUM, MEMBERS, tmp_path)


def test_extraction_interrupted_between_members(monkeypatch, tmp_path, wheel) -> None:
    use(monkeypatch, Pip(wheel))
    unpack = fetch.unpack_member

    def stop_at_second(archive: Path, member: str, target: Path) -> None:
        unpack(archive, member, target)
        if member == MEMBERS[1]:
            target.write_bytes(b"half")
            raise KeyboardInterrupt

    digest = hashlib.sha256(wheel).hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(fetch, "unpack_member", stop_at_second)
        with pytest.raises(KeyboardInterrupt):
            fetch_from_wheel(REQUIREMENT, digest, MEMBERS, tmp_path / "cache")
    assert [path.name for path in files_below(tmp_path / "cache")] == ["a.txt"]
    paths = fetch_from_wheel(REQUIREMENT, digest, MEMBERS, tmp_path / "cache")
    assert [path.read_text() for path in paths] == [member * 100 for member in MEMBERS]
