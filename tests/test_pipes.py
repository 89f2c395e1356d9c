"""The commands as processes: pipes that close, redirections, terminals, signals. Few, for each imports torch again."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from facevae.storage.faces import Faces
from facevae.storage.images import load_face
from facevae.storage.latents import Latents
from facevae.storage.weights import FaceModel
from helpers import pixels, put_pictures, put_upscaler, put_weights, succeed

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX pipes and signals")

FACEVAE = [sys.executable, "-m", "facevae"]
SHORT = 120
"""Seconds after which a process hangs for certain, also on a busy machine."""


@pytest.fixture(autouse=True)
def model(workspace: Path) -> FaceModel:
    return put_weights(workspace)


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line in a shell, where `facevae` is this package."""
    command = " ".join(shlex.quote(word) for word in FACEVAE)
    script = f'set -o pipefail\nfacevae() {{ {command} "$@"; }}\n{line}'
    environment = {**os.environ, **variables}
    return subprocess.run(["bash", "-c", script], capture_output=True, timeout=SHORT, env=environment)


def test_redirected_latents(model: FaceModel, faces_file: Path) -> None:
    done = shell("facevae encode > latents.h5")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == b"60 latents of 6 dimensions.\n"
    with Latents(Path("latents.h5")) as latents, Faces(faces_file) as faces:
        assert np.allclose(latents.mean(), model.encode(faces.read(0, 60))[0], atol=1e-5)


def test_paths_from_find(model: FaceModel) -> None:
    paths = put_pictures(Path("my faces"), 3)
    done = shell("find 'my faces' -name '*.png' | sort | facevae encode - -o z.h5 --quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"z.h5\n", b"")
    with Latents(Path("z.h5")) as latents:
        assert latents.names == [str(path) for path in paths]
        expected = model.encode(np.stack([load_face(path, 32) for path in paths]))[0]
        assert np.allclose(latents.mean(), expected, atol=1e-5)


def test_a_face_through_a_pipe() -> None:
    path = put_pictures(Path("faces"), 1, suffix=".jpg")[0]
    done = shell(f"cat {path} | facevae morph - --attr Smiling -o - > out.png")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    succeed("morph", path, "--attr", "Smiling")
    assert pixels(Path("out.png")).shape == pixels(Path("morph.png")).shape


@pytest.mark.slow
def test_names_of_neighbours_for_other_programs() -> None:
    put_pictures(Path("my faces"), 12)
    done = shell(
        "facevae encode 'my faces'/*.png -q > latents.h5 && facevae neighbours - -n 3 < 'my faces/face4.png' | cut -f 1"
    )
    assert (done.returncode, done.stderr) == (0, b"")
    names = done.stdout.decode().splitlines()
    assert names[0] == "my faces/face4.png"
    assert len(names) == 3


def test_a_picture_enlarged_between_pipes() -> None:
    upscaler = put_upscaler(Path("upscaler.safetensors"))
    path = put_pictures(Path("faces"), 1)[0]
    done = shell(f"cat {path} | facevae upscale - -o - | cat > out.png")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    difference = pixels(Path("out.png")).astype(int) - upscaler.upscale([pixels(path)])[0]
    assert np.abs(difference).max() <= 1


def test_a_picture_from_a_pipe_that_has_a_name() -> None:
    put_upscaler(Path("upscaler.safetensors"))
    path = put_pictures(Path("faces"), 1)[0]
    done = shell(f"facevae upscale <(cat {path}) -o out.png")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out.png\n", b"")
    assert pixels(Path("out.png")).shape == (96, 96, 3)


def test_latents_through_a_pipe() -> None:
    put_pictures(Path("faces"), 12)
    # Compiling umap-learn's loops takes longer than running a dozen points through them uncompiled.
    done = shell("facevae encode faces/*.png -q | facevae umap - --seed 1", NUMBA_DISABLE_JIT="1")
    assert done.stderr == b"stdin holds no attributes: the dots are all of one colour.\n"
    assert (done.returncode, done.stdout) == (0, b"umap.png\n")
    assert pixels(Path("umap.png")).std() > 1


@pytest.mark.parametrize("line", ["sample -o -", "info faces.h5", "--help"])
def test_a_closed_pipe_ends_quietly(faces_file: Path, line: str) -> None:
    """The reader is gone before the first byte comes, so the pipe is closed whatever its buffer."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([*FACEVAE, *line.split()], stdout=writing, stderr=subprocess.PIPE, timeout=SHORT)
    finally:
        os.close(writing)
    assert done.stderr == b""
    assert done.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_told_once(faces_file: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*FACEVAE, "info", "faces.h5"], stdout=full, stderr=subprocess.PIPE, timeout=SHORT)
    assert done.stderr == b"Error: no space left on device.\n"
    assert done.returncode == 1


def test_a_real_terminal_gets_no_binary() -> None:
    pty = pytest.importorskip("pty")
    controller, terminal = pty.openpty()
    try:
        done = subprocess.run([*FACEVAE, "encode"], stdout=terminal, stderr=subprocess.PIPE, timeout=SHORT)
    finally:
        os.close(terminal)
    try:
        written = os.read(controller, 1000)
    except OSError:  # Linux: nothing was written and the other side is closed
        written = b""
    finally:
        os.close(controller)
    assert written == b""
    assert done.stderr == (
        b"Error: Standard output is a terminal and the result is binary: "
        b"redirect it (facevae encode > latents.h5) or name a file with -o FILE.\n"
    )
    assert done.returncode == 2


def test_no_color_on_a_real_terminal(faces_file: Path) -> None:
    pty = pytest.importorskip("pty")
    controller, terminal = pty.openpty()
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm-256color"}
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        environment.pop(name, None)
    try:
        done = subprocess.run(
            [*FACEVAE, "info", "--help"], stdout=terminal, stderr=subprocess.PIPE, timeout=SHORT, env=environment
        )
        written = os.read(controller, 100_000)
    finally:
        os.close(terminal)
        os.close(controller)
    assert done.returncode == 0
    assert b"Usage:" in written
    for colour in range(30, 50):
        assert b"\x1b[%dm" % colour not in written
        assert b";%dm" % colour not in written


def test_an_interrupted_training_keeps_its_weights_and_goes_on(faces_file: Path) -> None:
    Path("vae.safetensors").unlink()
    command = [*FACEVAE, "train", "--channels", "2", "--latent-dim", "3", "--batch-size", "10", "-e", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"epoch 1/1000000: train loss ")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=SHORT)
    assert process.returncode == 130
    assert stdout == b"vae.safetensors\nvae.history.csv\nvae.loss.png\n"
    assert b"Traceback" not in stderr
    assert stderr.splitlines()[-2:] == [
        b"Interrupted: keeping what was trained.",
        b"Interrupted.",
    ]
    model = FaceModel.load("vae.safetensors")
    done = float(model.training["epochs_done"])
    assert done >= 1
    assert model.directions is not None
    resumed = succeed("train", "--resume", "-e", int(done) + 2, "--json", "-q").json
    assert resumed["epochs"] == int(done) + 2


def test_names_that_the_output_cannot_show(faces_file: Path) -> None:
    faces_file.rename(faces_file.parent / "fäce.h5")
    done = shell("facevae info fäce.h5", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"f?ce.h5: prepared faces" in done.stdout
