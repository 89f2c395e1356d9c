"""Training in several processes, for real: that it is the training of one, how it ends, and what is left when one is lost.

Each process imports PyTorch anew, so few runs carry many assertions. All of it on processors; the shares and sums themselves
have tests in test_ranks.py.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facevae.errors import LostRankError
from facevae.storage.checkpoint import load_checkpoint
from facevae.storage.weights import FaceModel
from facevae.workflows import launch
from facevae.workflows.launch import process_count
from facevae.workflows.train import TrainResult, train
from helpers import files, refusal
from support import write_faces

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes through Linux's /proc")

TINY: dict[str, Any] = {"recipe": "note", "channels": 4, "latent_dim": 5, "learning_rate": 1e-4, "seed": 2}
TIMEOUT = 120
"""Seconds after which a process hangs for certain, also on a busy machine."""
PROMPT = 30
"""Seconds in which the others have ended after one is lost."""
WEIGHTS = ["vae.safetensors", "vae.history.csv", "vae.loss.png"]
LEFT = sorted([*WEIGHTS, "vae.checkpoint.safetensors"])
LOST = "lost another one: its process ended, or the network between them failed. "


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """29 train images of 16x16: in batches of 12 the last is of five. And 10 valid ones."""
    split = np.repeat(np.array([0, 1, 2], dtype=np.uint8), (29, 10, 3))
    return write_faces(tmp_path_factory.mktemp("faces") / "faces.h5", count=42, size=16, split=split)


# ---------------------------------------------------------------------------------------------------- processes


class Run:
    """`facevae train` as a process, with those it starts, in a folder of its own."""

    def __init__(
        self, folder: Path, faces: Path, *, processes: int = 1, torchrun: bool = False, **options: Any
    ) -> None:
        self.folder = folder
        words = ["train", "--faces", faces, "--device", "cpu", *_words({"precision": "fp32", **options})]
        if torchrun:
            nodes = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", "facevae"]
        else:
            nodes, words = ["facevae"], [*words, "--processes", processes]
        self.stdout, self.stderr = folder / "stdout.txt", folder / "stderr.txt"
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with self.stdout.open("wb") as stdout, self.stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *nodes, *map(str, words)],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        self.ranks: dict[int, int] = {}

    def training(self) -> Run:
        """Wait until it trains, and find the processes of its ranks."""
        deadline = time.monotonic() + TIMEOUT
        while "epoch 1/" not in self.said and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert self.process.poll() is None, self.said
        assert "epoch 1/" in self.said
        self._find_ranks()
        return self

    def early(self) -> Run:
        """Wait until the second rank's process has begun."""
        deadline = time.monotonic() + TIMEOUT
        while 1 not in self.ranks and self.process.poll() is None and time.monotonic() < deadline:
            self._find_ranks()
            time.sleep(0.01)
        assert 1 in self.ranks, self.said
        return self

    def _find_ranks(self) -> None:
        # A child need not be a rank: Python starts others for a moment, and one that has only just begun is still a copy.
        children = {_environment(child).get("RANK"): child for child in _children(self.process.pid)}
        self.ranks = {int(rank): child for rank, child in children.items() if rank is not None}
        self.ranks.setdefault(0, self.process.pid)

    def end(self, seconds: float = TIMEOUT) -> int:
        """Wait for the end, of those it started too, and return the exit code."""
        code = self.process.wait(seconds)
        deadline = time.monotonic() + PROMPT
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not self.alive(), "processes are left over"
        return code

    def alive(self) -> list[int]:
        return [pid for pid in self.ranks.values() if _is_alive(pid)]

    def clean(self) -> None:
        for pid in [*self.alive(), *_children(self.process.pid), self.process.pid]:
            if _is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(TIMEOUT)

    @property
    def said(self) -> str:
        return self.stderr.read_text()

    @property
    def notices(self) -> list[str]:
        return [line for line in self.said.splitlines() if not line.startswith("epoch ")]


def _words(options: dict[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}"] if value is True else [f"--{name.replace('_', '-')}", str(value)]
    return words


def _children(pid: int) -> list[int]:
    try:
        return [
            int(child)
            for path in Path(f"/proc/{pid}/task").iterdir()
            for child in (path / "children").read_text().split()
        ]
    except OSError:
        return []


def _environment(pid: int) -> dict[str, str]:
    try:
        pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    except OSError:  # it has ended
        return {}
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def runs() -> Iterator[list[Run]]:
    """Put a run in here, and it is gone after the test, whatever happens."""
    started: list[Run] = []
    yield started
    for one in started:
        one.clean()


@pytest.fixture
def start(runs: list[Run], tmp_path: Path, faces: Path) -> Any:
    def started(**options: Any) -> Run:
        run = Run(tmp_path, faces, **{**TINY, "batch_size": 12, **options})
        runs.append(run)
        return run

    return started


# ---------------------------------------------------------------------------------------------------- comparisons


def alone(folder: Path, faces: Path, **options: Any) -> TrainResult:
    """Train in this process."""
    given = {} if options.get("resume") else {**TINY, "batch_size": 12, "precision": "fp32"}
    return train(faces, folder / "vae.safetensors", device="cpu", **{**given, **options})


def tensors(folder: Path) -> dict[str, Tensor]:
    """What a training has made: network, directions, and Adam's moments."""
    model = FaceModel.load(folder / "vae.safetensors")
    assert model.directions is not None
    found = {**model.vae.state_dict(), "directions": torch.from_numpy(model.directions.deltas)}
    return found | load_checkpoint(folder / "vae.checkpoint.safetensors").tensors


def history(folder: Path) -> list[tuple[str, ...]]:
    with (folder / "vae.history.csv").open(newline="") as file:
        return [
            tuple(value for name, value in row.items() if name != "images_per_second") for row in csv.DictReader(file)
        ]


def assert_same(one: Path, other: Path, *, tolerance: float = 5e-5) -> None:
    """Up to rounding, which training makes grow. One step alone moves the weights by 1e-4, and Adam's moments by more."""
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        # Muon's momenta, of a loss in the thousands, are large, and some of their entries nearly nothing.
        scale = max(1.0, float(tensor.abs().max()))
        assert torch.allclose(tensor, second[name], rtol=tolerance, atol=tolerance * scale), (
            f"{name} by {(tensor - second[name]).abs().max():.2g}"
        )
    for row, wanted in zip(history(one), history(other), strict=True):
        assert (row[0], row[1], row[-1]) == (wanted[0], wanted[1], wanted[-1])
        assert [float(x) for x in row[2:-1]] == pytest.approx([float(x) for x in wanted[2:-1]], rel=10 * tolerance)


def subfolder(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


# ---------------------------------------------------------------------------------------------------- agreement


def assert_one_of_them_wrote(run: Run, epochs: int) -> None:
    assert run.stdout.read_text().splitlines() == WEIGHTS
    assert files(str(run.folder)) == sorted([*LEFT, "stderr.txt", "stdout.txt"])
    lines = [line for line in run.said.splitlines() if line.startswith("epoch ")]
    assert [line.split(":")[0] for line in lines] == [f"epoch {number}/{epochs}" for number in range(1, epochs + 1)]


def test_two_processes_of_torchrun_and_then_one(start: Any, faces: Path, tmp_path: Path) -> None:
    run = start(torchrun=True, processes=2, epochs=2)
    assert run.end() == 0, run.said
    assert_one_of_them_wrote(run, 2)
    alone(subfolder(tmp_path, "unbroken"), faces, epochs=2)
    assert_same(tmp_path, tmp_path / "unbroken")
    alone(tmp_path, faces, epochs=4, resume=True)
    alone(tmp_path / "unbroken", faces, epochs=4, resume=True)
    assert_same(tmp_path, tmp_path / "unbroken")


@pytest.mark.parametrize("recipe", [pytest.param("note", marks=pytest.mark.slow), "detail"])
def test_one_process_and_then_two_of_its_own(start: Any, faces: Path, tmp_path: Path, recipe: str) -> None:
    how = {"recipe": recipe, "schedule": "constant"}
    alone(tmp_path, faces, epochs=1, **how)
    run = start(processes=2, epochs=3, resume=True, **how)
    assert run.end() == 0, run.said
    assert run.stdout.read_text().splitlines() == WEIGHTS
    assert files(str(tmp_path)) == sorted([*LEFT, "stderr.txt", "stdout.txt"])
    assert [line[:10] for line in run.said.splitlines()] == ["epoch 2/3:", "epoch 3/3:"]
    alone(subfolder(tmp_path, "unbroken"), faces, epochs=3, **how)
    assert_same(tmp_path, tmp_path / "unbroken")


@pytest.mark.slow
def test_three_processes_and_an_image_that_sits_out(start: Any, faces: Path, tmp_path: Path) -> None:
    run = start(processes=3, epochs=2, batch_size=14)
    assert run.end() == 0, run.said
    assert_one_of_them_wrote(run, 2)
    alone(subfolder(tmp_path, "unbroken"), faces, epochs=2, batch_size=14)
    assert_same(tmp_path, tmp_path / "unbroken")


# ---------------------------------------------------------------------------------------------------- a rank is lost


def assert_goes_on(folder: Path, faces: Path) -> None:
    """The rest of the training in this process, beside one that was never interrupted."""
    epochs = load_checkpoint(folder / "vae.checkpoint.safetensors").epoch + 2
    alone(folder, faces, epochs=epochs, resume=True)
    whole = alone(subfolder(folder, "unbroken"), faces, epochs=epochs)
    assert whole.epochs == epochs
    one, other = tensors(folder), tensors(folder / "unbroken")
    for name, tensor in one.items():  # the history differs: it has a point where the training was broken off
        assert torch.allclose(tensor, other[name], rtol=2e-4, atol=2e-4), (
            f"{name} by {(tensor - other[name]).abs().max():.2g} after {epochs} epochs"
        )


def test_the_second_of_two_is_killed(start: Any, faces: Path, tmp_path: Path) -> None:
    run = start(processes=2, epochs=500).training()
    os.kill(run.ranks[1], signal.SIGKILL)
    assert run.end(PROMPT) == 1
    checkpoint = load_checkpoint(tmp_path / "vae.checkpoint.safetensors")
    done = checkpoint.epoch + checkpoint.step / 3
    assert run.notices == [
        f"Error: Rank 0 of 2 {LOST}vae.checkpoint.safetensors holds what was trained, {done:.2f} epochs: go on from there "
        "with --resume. Rank 1 was ended by SIGKILL."
    ]
    assert run.stdout.read_text() == ""
    assert_goes_on(tmp_path, faces)


@pytest.mark.slow
def test_the_second_of_two_under_torchrun_is_killed(start: Any, faces: Path, tmp_path: Path) -> None:
    run = start(torchrun=True, processes=2, epochs=500).training()
    os.kill(run.ranks[1], signal.SIGKILL)
    assert run.end(PROMPT) == 1
    told = [line for line in run.notices if line.startswith("Error: ")]
    assert len(told) == 1
    assert told[0].startswith(f"Error: Rank 0 of 2 {LOST}vae.checkpoint.safetensors holds what was trained, ")
    assert told[0].endswith(" epochs: go on from there with --resume.")
    assert "/facevae/" not in run.said, "a traceback through facevae"
    assert run.stdout.read_text() == ""
    assert_goes_on(tmp_path, faces)


@pytest.mark.parametrize("when", [pytest.param("early", marks=pytest.mark.slow), "training"])
def test_the_first_of_two_is_killed(start: Any, when: str) -> None:
    """Then the second ends too: from training, and before it has even met the first."""
    run: Run = start(processes=2, epochs=500)
    run = run.early() if when == "early" else run.training()
    os.kill(run.ranks[0], signal.SIGKILL)
    assert run.end(PROMPT) == -signal.SIGKILL
    assert run.notices == []
    assert run.stdout.read_text() == ""


def test_a_rank_that_never_comes(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says is told, and the first has its threads back."""

    def misled(rank: int, count: int, port: int, options: dict[str, Any]) -> Any:
        return started(rank, count, port, {**options, "faces": "gone.h5"})

    started = launch._start
    monkeypatch.setattr(launch, "_start", misled)
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads(), os.environ.get("GLOO_SOCKET_IFNAME")
    with pytest.raises(LostRankError) as error:
        alone(tmp_path, faces, epochs=1, processes=2)
    assert str(error.value) == (
        "Rank 1 of 2 ended before the training began: --processes 1 does without the others. "
        "Rank 1: There is no gone.h5. Make one with: facevae prepare --celeba-dir DIR"
    )
    assert (torch.get_num_threads(), os.environ.get("GLOO_SOCKET_IFNAME")) == before
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------------- requests to end


@pytest.mark.parametrize("how", [pytest.param("Ctrl-C", marks=pytest.mark.slow), "SIGTERM"])
def test_an_interruption_ends_both(start: Any, faces: Path, tmp_path: Path, how: str) -> None:
    run = start(processes=2, epochs=500).training()
    if how == "Ctrl-C":
        os.killpg(run.process.pid, signal.SIGINT)
    else:
        run.process.terminate()
    assert run.end(PROMPT) == 130
    assert run.notices == ["Interrupted: keeping what was trained.", "Interrupted."]
    assert run.stdout.read_text().splitlines() == WEIGHTS
    checkpoint = load_checkpoint(tmp_path / "vae.checkpoint.safetensors")
    model = FaceModel.load(tmp_path / "vae.safetensors")
    assert model.directions is not None
    assert model.training["epochs_done"] == pytest.approx(checkpoint.epoch + checkpoint.step / 3)
    assert_goes_on(tmp_path, faces)


def test_an_interruption_before_the_training(start: Any, tmp_path: Path) -> None:
    """Ctrl-C while the other one is still loading PyTorch, from which it would break off with a traceback."""
    run = start(processes=2, epochs=500).early()
    time.sleep(0.5)
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.end(PROMPT) == 130
    assert (run.said, run.stdout.read_text()) == ("Interrupted.\n", "")
    assert files(str(tmp_path)) == ["stderr.txt", "stdout.txt"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_an_interruption_of_torchrun_ends_both(start: Any, faces: Path, tmp_path: Path, how: str) -> None:
    run = start(torchrun=True, processes=2, epochs=500).training()
    if how == "Ctrl-C":
        os.killpg(run.process.pid, signal.SIGINT)
    else:
        run.process.terminate()
    assert run.end(PROMPT) == 1
    assert run.notices.count("Interrupted: keeping what was trained.") == 1
    assert "/facevae/" not in run.said, "a traceback through facevae"
    assert run.stdout.read_text().splitlines() == WEIGHTS
    assert_goes_on(tmp_path, faces)


# ---------------------------------------------------------------------------------------------------- one process, killed

ENDLESS = """
import json, sys
from facevae.workflows import training_run
from facevae.workflows.train import train
training_run.CHECKPOINT_SECONDS = -1.0  # after every step
train(sys.argv[1], sys.argv[2], device="cpu", epochs=500, **json.loads(sys.argv[3]))
"""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_killed_at_any_moment_and_resumed_it_is_the_unbroken_training(
    faces: Path, tmp_path: Path, precision: str
) -> None:
    """Bit for bit."""
    options = {**TINY, "batch_size": 12, "precision": precision}
    output, checkpoint = tmp_path / "vae.safetensors", tmp_path / "vae.checkpoint.safetensors"
    command = [sys.executable, "-c", ENDLESS, str(faces), str(output), json.dumps(options)]
    with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        deadline = time.monotonic() + TIMEOUT
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    epochs = load_checkpoint(checkpoint).epoch + 2
    alone(tmp_path, faces, epochs=epochs, resume=True)
    alone(subfolder(tmp_path, "unbroken"), faces, epochs=epochs, precision=precision)
    one, other = tensors(tmp_path), tensors(tmp_path / "unbroken")
    assert [name for name, tensor in one.items() if not torch.equal(tensor, other[name])] == []
    assert history(tmp_path) == history(tmp_path / "unbroken")


# ---------------------------------------------------------------------------------------------------- refusals


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def refused(faces: Path, *options: str | int) -> str:
    message = refusal("train", "--faces", faces, *options, code=2)
    assert files() == []
    return message


def test_too_few_processes(faces: Path, workspace: Path) -> None:
    assert refused(faces, "--processes", 0) == "0 processes are too few: use a whole number of at least 1."
    assert refused(faces, "--processes", -1) == "-1 processes are too few: use a whole number of at least 1."


def test_processes_that_torchrun_has_started(faces: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    message = "torchrun has started the processes already: leave --processes out."
    assert refused(faces, "--processes", 2) == message
    assert refused(faces, "--processes", 1) == message


def test_more_processes_than_gpus(
    faces: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch, two_gpus: None
) -> None:
    assert refused(faces, "--device", "cuda", "--processes", 3) == (
        "There are not 3 GPUs for 3 processes: PyTorch sees 2, and a process needs one of its own, so use fewer --processes."
    )
    assert refused(faces, "--device", "cuda:1", "--processes", 2) == (
        "2 processes cannot train on cuda:1 alone: each needs a GPU of its own, so use --device cuda."
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert refused(faces, "--device", "cuda", "--processes", 2) == (
        "PyTorch sees no CUDA GPU on this machine: use --device auto to take the best there is, or --device cpu."
    )


def test_how_many_processes(two_gpus: None) -> None:
    cpu, cuda, second, mps = (torch.device(name) for name in ("cpu", "cuda", "cuda:1", "mps"))
    assert [process_count(None, device) for device in (cpu, cuda, second, mps)] == [1, 2, 1, 1]
    assert [process_count(1, device) for device in (cpu, cuda, second, mps)] == [1, 1, 1, 1]
    assert (process_count(7, cpu), process_count(2, cuda)) == (7, 2)


def test_processes_on_other_devices(faces: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert refused(faces, "--device", "mps", "--processes", 2) == (
        "Several processes cannot train on mps together: use --device cpu or cuda."
    )


@pytest.mark.slow
def test_ranks_that_were_asked_for_different_things_refuse(tmp_path: Path, faces: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "facevae", "train", "--faces", str(faces), "--device", "cpu", "--channels", "4"]
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [*command, "--seed", str(rank)],
            cwd=tmp_path,
            env={**os.environ, **together, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            stdout, stderr = process.communicate(timeout=TIMEOUT)
            assert (process.returncode, stdout) == (1, "")
            assert stderr == (
                "Error: The processes of this training were given different options, faces or checkpoints: start all of them "
                "with the same command, faces.h5 and, with --resume, checkpoint.\n"
            )
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert files(str(tmp_path)) == []


def test_an_environment_that_is_not_torchruns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "abc")
    monkeypatch.chdir(tmp_path)
    assert refusal("train", code=2) == (
        "The environment variable WORLD_SIZE is abc, not a number as torchrun sets it: unset it, or use torchrun."
    )
