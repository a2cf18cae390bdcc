"""Drives the dashboard in a headless Chromium, for tests, measurements and screenshots."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.untrusted import parse_json

_STARTS, _LOADS = 60.0, 120.0
# Streamlit asks for these below every page's address before it finds the server: its own probes, answered by 404.
_PROBES = ("/_stcore/health", "/_stcore/host-config", "favicon")
_STATE = """
const q = (s) => document.querySelectorAll(s).length;
return [q('[data-testid="stStatusWidget"]'), q('[data-stale="true"]'), q('[data-testid="stSkeleton"]'),
        q('[data-testid="stMain"] [data-testid="stElementContainer"]'), q('[data-testid="stException"]'),
        (document.querySelector('[data-testid=stMain]') || {innerText: ''}).innerText.trim().length];
"""


def missing() -> str:
    """Return what browser tests lack on this machine; "" if nothing."""
    names = ("chromium", "chromedriver")
    lacking = [name for name in names if shutil.which(name) is None]
    return f"{' and '.join(lacking)} not found (Debian: apt-get install chromium chromium-driver)" if lacking else ""


@contextmanager
def serving(runs: Path) -> Iterator[str]:
    """Run the dashboard on a folder of runs through the command line; yields its address.

    Raises:
        ConfigError: It did not start within a minute; the message holds what it printed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "recsim_llm", "dashboard", str(runs), "--port", str(port)]
    # In its own process group: the command has a child, and both must be ended.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        _await(process, f"{address}/_stcore/health")
        yield address
    finally:
        with suppress(ProcessLookupError):  # it ended by itself, and the error in flight says why
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=20)


class Browser:
    """A headless Chromium.

    Args:
        dark: Whether to request the dark theme.
        width, height: Size of the window, in pixels.

    Raises:
        MissingExtraError: selenium is not installed.
        ConfigError: Chromium or its driver is missing.
    """

    def __init__(self, dark: bool = False, width: int = 1400, height: int = 1000) -> None:
        try:
            from selenium import webdriver
        except ImportError as error:
            raise MissingExtraError("selenium", "dev", "Opening the dashboard in a browser") from error
        if missing():
            raise ConfigError(missing())
        options = webdriver.ChromeOptions()
        for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", f"window-size={width},{height}"):
            options.add_argument(f"--{argument}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        self.driver: Any = webdriver.Chrome(options=options, service=service)
        if dark:
            self.driver.execute_cdp_cmd(
                "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
            )

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.quit()

    def open(self, address: str) -> float:
        """Open a page and wait until it is drawn; returns the seconds until its last change.

        Errors of the previous page are discarded, because its server may be gone.
        """
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        started = time.perf_counter()
        self.driver.get(address)
        return self.settle() - started

    def asked(self) -> list[str]:
        """Return the addresses of all requests since the last call, including WebSocket connections."""
        lines = [line["message"] for line in self.driver.get_log("performance")]
        said = [parse_json(line, "the browser's log")["message"] for line in lines]
        requests = [each["params"] for each in said if each["method"] == "Network.requestWillBeSent"]
        sockets = [each["params"] for each in said if each["method"] == "Network.webSocketCreated"]
        return [one["request"]["url"] for one in requests] + [one["url"] for one in sockets]

    def switch(self, title: str) -> float:
        """Choose a page in the sidebar; returns the seconds as `open` does."""
        links = self.driver.find_elements("css selector", '[data-testid="stSidebarNavLink"]')
        before, started = self.driver.current_url, time.perf_counter()
        next(link for link in links if title in link.text.split("\n")).click()
        while self.driver.current_url == before and time.perf_counter() - started < _LOADS:
            time.sleep(0.01)  # at first the old page is shown unchanged
        return self.settle() - started

    def settle(self, quiet: int = 3) -> float:
        """Wait until Streamlit has drawn everything.

        Args:
            quiet: Number of checks, 0.1 s apart, that must find the page unchanged and idle.

        Returns:
            Time of the first of these checks (`time.perf_counter`).

        Raises:
            ConfigError: It still draws after two minutes.
        """
        ends, before, calm, since = time.monotonic() + _LOADS, None, 0, 0.0
        while time.monotonic() < ends:
            state = self.driver.execute_script(_STATE)
            # Containers appear before their texts, and every page has some text.
            at_rest = state[:3] == [0, 0, 0] and state[3] > 0 and state[5] > 0
            calm = calm + 1 if at_rest and state == before else 0
            since = since if calm else time.perf_counter()
            if calm >= quiet:
                return since
            before = state
            time.sleep(0.1)
        raise ConfigError(f"{self.driver.current_url} was still being drawn after {_LOADS:.0f} s.")

    def text(self) -> str:
        """Return the text of the page without the sidebar."""
        return str(self.driver.execute_script("return document.querySelector('[data-testid=stMain]').innerText"))

    def errors(self) -> list[str]:
        """Return errors since the page was opened or since the last call: console errors and Streamlit exceptions."""
        logged = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        shown = [box.text for box in self.driver.find_elements("css selector", '[data-testid="stException"]')]
        return [message for message in logged if not any(probe in message for probe in _PROBES)] + shown

    def click(self, label: str) -> None:
        """Press the first button with a label, and wait."""
        buttons = self.driver.find_elements("css selector", '[data-testid="stMain"] button')
        next(button for button in buttons if label in button.text.split("\n")).click()
        self.settle()

    def press(self, key: str) -> None:
        """Press a key, by its name in `selenium.webdriver.Keys`, anywhere on the page, and wait."""
        from selenium.webdriver import ActionChains, Keys

        ActionChains(self.driver).send_keys(getattr(Keys, key)).perform()
        self.settle()

    def charts(self) -> str:
        """Return the data of the drawn charts as text, which changes whenever a figure does."""
        marks = "return [...document.querySelectorAll('.vega-embed [role=graphics-symbol], .vega-embed path')]"
        return json.dumps(
            self.driver.execute_script(f"{marks}.map(m => m.getAttribute('aria-label') || m.getAttribute('d'))")
        )

    def screenshot(self, path: Path) -> None:
        """Write the window as a PNG file of at most 256 colours."""
        from io import BytesIO

        from PIL import Image

        image = Image.open(BytesIO(self.driver.get_screenshot_as_png())).convert("RGB")
        path.parent.mkdir(parents=True, exist_ok=True)
        image.quantize(256).save(path, optimize=True)


def _await(process: subprocess.Popen[bytes], address: str) -> None:
    ends = time.monotonic() + _STARTS
    while time.monotonic() < ends and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    said = process.communicate()[0].decode(errors="replace")
    raise ConfigError(f"The dashboard did not start: {said}")
