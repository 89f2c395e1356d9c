"""`facevae explore`: started and stopped as users do it, and what it says where it cannot start."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import facevae
from exploring import FAKE_FIT, Client, put_explored, wait_for
from facevae.explorer import explore as verb
from facevae.explorer.server import Server
from facevae.storage.coordinates import SavedMap
from facevae.workflows import umap as umap_workflow
from helpers import files, put_weights, refusal, run
from support import Recorder

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
SHIPPED = "There is no vae.safetensors here: using the weights shipped with facevae (faces-32)."


@pytest.fixture
def explored(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    put_explored(workspace)
    monkeypatch.setattr(umap_workflow, "fit", lambda latents, seed, report: latents[:, :2].copy())
    facevae.umap("latents.h5", "map.png", coordinates="map.h5")
    return workspace


@contextmanager
def running(*options: str, code: str = "") -> Iterator[subprocess.Popen[str]]:
    """Start `facevae explore`, after some code."""
    script = f"{code}\nfrom facevae.cli.start import main\nmain()"
    arguments = [sys.executable, "-c", script, "explore", "--no-browser", "--port", "0", *options]
    process = subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_serves_and_ends_well(explored: Path, number: signal.Signals) -> None:
    before = files()
    with running("--weights", "vae.safetensors") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:")
        assert line.endswith("/\n")
        client = Client(int(line.rpartition(":")[2].strip("/\n")))
        state = client.get("/api/state").json
        assert (state["map"]["method"], state["faces"]["count"], state["notices"]) == ("UMAP", 60, [])
        edit = {"face": "row/3", "moves": {"Smiling": 1}}
        assert client.post("/api/decode", edit).status == 200
        assert "--weights vae.safetensors" in client.post("/api/command", edit).json["picture"]
        held = http.client.HTTPConnection("127.0.0.1", client.port)  # as a browser keeps some open
        held.request("GET", "/api/state")
        assert held.getresponse().read()
        process.send_signal(number)
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == 0
        held.close()
    assert files() == before


@posix
def test_what_is_computed_does_not_hold_the_end_up(explored: Path) -> None:
    slow = (
        "import time\nfrom facevae.explorer.session import Session\n"
        "def decode(*_):\n    time.sleep(0.2)\n    open('begun', 'w').close()\n    time.sleep(60)\n"
        "Session.decode = decode"
    )
    with running(code=slow) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        until = time.monotonic() + 20
        while not Path("begun").exists() and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20) == ("", "")
        assert process.returncode == 0


@posix
def test_json_a_token_and_the_map_it_fits(explored: Path) -> None:
    Path("map.h5").unlink()
    fake = f"from facevae.explorer import map_fit; map_fit.CHILD = ('-c', {FAKE_FIT!r})"
    with running("--json", "--host", "0.0.0.0", code=fake) as process:
        assert process.stdout is not None
        text = "".join(process.stdout.readline() for _ in range(4))
        printed = json.loads(text)
        assert printed["pid"] == process.pid
        address, _, token = printed["url"].partition("?token=")
        client = Client(int(address.rpartition(":")[2].strip("/")))
        assert client.get("/api/state").status == 403
        assert client.get(f"/?token={token}").status == 200
        headers = {"Cookie": f"facevae-{client.port}={token}"}
        wait_for(lambda: client.get("/api/state", **headers).json["map"]["method"] == "UMAP")
        wait_for(lambda: client.get("/api/state", **headers).json["notices"] != [])
        process.send_signal(signal.SIGTERM)
        out, said = process.communicate(timeout=30)
        assert (process.returncode, out, said) == (0, "", "The map is kept in map.h5, for the next time.\n")
    with SavedMap(Path("map.h5")) as saved:
        assert saved.count == 60


@posix
def test_a_signal_before_it_answers_is_an_interruption(workspace: Path) -> None:
    code = "import os, signal, facevae.explorer.explore as e; e.load_model = lambda *g: os.kill(os.getpid(), signal.SIGTERM)"
    with running(code=code) as process:
        assert process.communicate(timeout=60) == ("", "Interrupted.\n")
        assert process.returncode == 130


def test_what_is_out_of_range(workspace: Path) -> None:
    port = "use a whole number from 1 to 65535, or 0 for any that is free."
    faces = "use a whole number from 10 to 100,000."
    both = "--random and --latents both say which faces are on the map: leave one of the two out."
    for options, sentence in {
        ("--port", "65536"): f"A port of 65536 is out of range: {port}",
        ("--port", "-1"): f"A port of -1 is out of range: {port}",
        ("--random", "9"): f"9 random faces are out of range: {faces}",
        ("--random", "100001"): f"100001 random faces are out of range: {faces}",
        ("--random", "10", "--latents", "x.h5"): both,
        ("--random", "10", "--map", "map.h5"): "--map is the map of latents: leave it out with --random.",
        ("--host", ""): (
            "--host is empty: name an address, such as 127.0.0.1, or 0.0.0.0 for every one of this machine."
        ),
        ("--device", "tpu", "--port", "0"): "There is no device tpu: use one of auto, cpu, cuda, mps.",
    }.items():
        assert refusal("explore", "--no-browser", *options, code=2) == sentence


def test_files_that_are_not_there(workspace: Path) -> None:
    put_weights(workspace)
    options = ("explore", "--no-browser", "--port", "0")
    assert (
        refusal(*options, "--latents", "mine.h5") == "There is no mine.h5. Make one with: facevae encode > latents.h5"
    )
    assert refusal(*options, "--weights", "mine.safetensors").startswith("There is no mine.safetensors")


def test_a_port_that_is_taken(workspace: Path) -> None:
    from facevae.explorer.server import bind
    from facevae.progress import silent

    with bind("127.0.0.1", 0, silent) as taken:
        port = taken.getsockname()[1]
        sentence = f"The port {port} is taken: name another with --port, or leave it out."
        assert refusal("explore", "--no-browser", "--port", port) == sentence


def test_without_the_extra(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(verb, "find_spec", lambda name: None if name == "tornado" else found(name))
    sentence = 'The explorer needs the extra explore: pip install "facevae[explore]".'
    assert refusal("explore", code=2) == sentence


@pytest.mark.parametrize("quiet", [False, True])
def test_notices_go_to_stderr(explored: Path, monkeypatch: pytest.MonkeyPatch, quiet: bool) -> None:
    Path("map.h5").write_bytes(Path("latents.h5").read_bytes())
    asked: list[Any] = []

    def end(self: Server, ready: Any) -> None:
        asked.append(self._served.weights)

    monkeypatch.setattr(Server, "run", end)
    outcome = run("explore", "--no-browser", "--port", "0", *(["-q"] if quiet else []))
    assert (outcome.code, outcome.stdout, asked) == (0, b"", [None])
    why = "map.h5 holds latents and would be overwritten by UMAP coordinates: name another output with --map."
    assert outcome.stderr == ("" if quiet else f"The map is not kept: {why}\n")


def test_the_page_is_opened(explored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setenv("DISPLAY", ":9")

    def open_page(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", open_page)

    def begin(self: Server, ready: Any) -> None:
        ready()
        wait_for(lambda: opened != [] or "--no-browser" in arguments)

    monkeypatch.setattr(Server, "run", begin)
    arguments = ["explore", "--port", "0"]
    outcome = run(*arguments)
    assert (outcome.code, outcome.lines, outcome.stderr) == (0, opened, "")
    arguments.append("--no-browser")
    assert run(*arguments).code == 0
    assert len(opened) == 1


def test_no_browser_is_only_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Recorder()
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    verb._open_browser("http://127.0.0.1:1/", told)
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    verb._open_browser("http://127.0.0.1:1/", told)

    def fail(url: str) -> bool:
        raise webbrowser.Error("none")

    monkeypatch.setattr(webbrowser, "open", fail)
    verb._open_browser("http://127.0.0.1:1/", told)
    no_browser = "No browser could be opened: open http://127.0.0.1:1/ yourself."
    assert told.notices == [
        "There is no display to open a browser on: open http://127.0.0.1:1/ yourself.",
        no_browser,
        no_browser,
    ]


def test_where_ctrl_c_raises_it_still_ends_well(explored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, whose event loops take no signals."""

    async def interrupted(self: Server, ready: Any) -> None:
        self._answered = answered
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "_run", interrupted)
    answered = True
    assert run("explore", "--no-browser", "--port", "0").code == 0
    answered = False
    assert run("explore", "--no-browser", "--port", "0").code == 130
