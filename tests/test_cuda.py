"""Training on a GPU, where there is one; and the decisions of the CUDA graph, which need none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor

from facevae.config import ModelConfig, TrainConfig
from facevae.model import cuda_graph
from facevae.model.cuda_graph import CudaGraph
from facevae.model.training import Trainer, evaluate_loss, new_vae
from facevae.storage.checkpoint import load_checkpoint, save_checkpoint
from support import random_images

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA GPU here")
SMALL = ModelConfig(image_size=16, channels=8, latent_dim=4)


def make_trainer(device: str, *, epoch: int = 0, step: int = 0) -> Trainer:
    """40 images in batches of 9, 9, 9, 9 and 4; two hundred epochs of them are steps enough for a graph."""
    config = TrainConfig(batch_size=9, epochs=200, precision="fp32", learning_rate=1e-3, seed=3)
    vae = new_vae(SMALL, config.seed).to(device)
    return Trainer(vae, torch.from_numpy(random_images(40, 16)), config, epoch=epoch, step=step)


def run(trainer: Trainer, steps: int) -> Trainer:
    for _ in range(steps):
        trainer.advance()
    return trainer


def assert_near(one: Trainer, other: Trainer, tolerance: float) -> None:
    for (name, got), wanted in zip(one.vae.state_dict().items(), other.vae.state_dict().values(), strict=True):
        assert torch.allclose(got.cpu(), wanted.cpu(), rtol=tolerance, atol=tolerance), name


@needs_cuda
@pytest.mark.parametrize("steps", [1, 40])
def test_a_recorded_step_is_the_step(steps: int) -> None:
    recorded, plain = make_trainer("cuda"), make_trainer("cuda")
    assert recorded._graph is not None
    assert plain._graph is not None
    plain._graph._usable = False
    run(recorded, steps)
    run(plain, steps)
    assert (recorded._graph._graph is not None) is (steps > cuda_graph._WARM_UP_STEPS)
    assert plain._graph._graph is None
    assert_near(recorded, plain, 1e-4)
    assert recorded.read_loss() == pytest.approx(plain.read_loss(), rel=1e-4)


@needs_cuda
def test_images_lie_on_the_device_as_bytes() -> None:
    trainer = make_trainer("cuda")
    assert (trainer._images.device.type, trainer._images.dtype) == ("cuda", torch.uint8)
    assert trainer._images.shape == (40, 16, 16, 3)


@needs_cuda
@pytest.mark.parametrize("halt", [2, 20])
def test_a_resumed_training_is_the_unbroken_one(halt: int, tmp_path: Path) -> None:
    """Before the graph is recorded, and after."""
    halted, unbroken = run(make_trainer("cuda"), halt), run(make_trainer("cuda"), 40)
    path = tmp_path / "vae.checkpoint.safetensors"
    save_checkpoint(path, halted, seconds=1.0, faces_fingerprint="abc", history=[])
    checkpoint = load_checkpoint(path)
    resumed = make_trainer("cuda", epoch=checkpoint.epoch, step=checkpoint.step)
    checkpoint.restore_network(resumed.vae)
    checkpoint.restore_optimizer(resumed)
    run(resumed, 40 - halt)
    assert (resumed.epoch, resumed.step) == (unbroken.epoch, unbroken.step)
    assert_near(resumed, unbroken, 1e-4)


@needs_cuda
def test_the_gpu_agrees_with_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same noise, which each draws from generators of its own, and without TensorFloat-32."""

    def randn(*size: int, generator: torch.Generator, device: torch.device) -> Tensor:
        return plain(*size, generator=torch.Generator().manual_seed(generator.initial_seed())).to(device)

    plain = torch.randn
    monkeypatch.setattr(torch, "randn", randn)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    on_gpu, on_cpu = run(make_trainer("cuda"), 4), run(make_trainer("cpu"), 4)
    assert on_gpu.read_loss()[:4] == pytest.approx(on_cpu.read_loss()[:4], rel=1e-3)
    valid = torch.from_numpy(random_images(20, 16, seed=1))
    losses = [evaluate_loss(trainer.vae, valid, trainer.config) for trainer in (on_gpu, on_cpu)]
    assert losses[0][:4] == pytest.approx(losses[1][:4], rel=1e-2)
    for (name, got), wanted in zip(on_gpu.vae.named_buffers(), on_cpu.vae.buffers(), strict=True):
        assert torch.allclose(got.cpu(), wanted, rtol=1e-2, atol=1e-3), name


# ----------------------------------------------------------------------------- the graph's decisions, without a GPU


class FakeCuda:
    """Records nothing but the last function called within `graph`, and replays it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, fails: bool = False) -> None:
        self.recording = False
        self.on_stream = False
        self.replay: Callable[[], None] | None = None
        self.replays = 0
        fake = self

        class Stream:
            def __init__(self, device: torch.device | None = None) -> None:
                pass

            def wait_stream(self, other: Stream) -> None:
                pass

        class Graph:
            def replay(self) -> None:
                assert fake.replay is not None
                fake.replays += 1
                fake.replay()

        @contextmanager
        def graph(of: Graph) -> Iterator[None]:
            fake.recording = True
            try:
                yield
                if fails:
                    raise RuntimeError("operation not permitted when stream is capturing")
            finally:
                fake.recording = False

        @contextmanager
        def stream(of: Stream) -> Iterator[None]:
            fake.on_stream = True
            yield
            fake.on_stream = False

        for name, value in {"Stream": Stream, "CUDAGraph": Graph, "graph": graph, "stream": stream}.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(torch.cuda, "current_stream", Stream)
        monkeypatch.setattr(torch.cuda, "device", nullcontext)


class Steps:
    """A step that notes what it is called with, and how; while it is recorded it takes none, as on a GPU."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.taken: list[tuple[list[int], float, str]] = []

    def __call__(self, rows: Tensor, noise: Tensor, images: float, part: float) -> None:
        def take(how: str) -> None:
            assert noise[:, 0].tolist() == [0.5 * row for row in rows.tolist()]
            self.taken.append((rows.tolist(), images, how))

        if self.cuda.recording:
            self.cuda.replay = lambda: take("replayed")
        else:
            take("warming up" if self.cuda.on_stream else "plain")


def call(graph: CudaGraph, *rows: int) -> tuple[list[int], float]:
    graph(torch.tensor(rows), 0.5 * torch.tensor(rows)[:, None].float(), float(len(rows)), 1.0)
    return list(rows), float(len(rows))


def test_a_step_is_recorded_after_the_first_and_replayed_with_new_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch)
    steps = Steps(cuda)
    graph = CudaGraph(steps, expected_steps=301)
    called = [call(graph, number, number + 1) for number in range(20)]
    # No step is skipped and none is taken twice.
    assert [taken[:2] for taken in steps.taken] == called
    assert [taken[2] for taken in steps.taken] == 11 * ["warming up"] + 9 * ["replayed"]
    call(graph, 4, 5, 6)
    call(graph, 7, 8)
    assert steps.taken[-2:] == [([4, 5, 6], 3.0, "plain"), ([7, 8], 2.0, "replayed")]
    assert cuda.replays == 10


def test_without_a_recording_all_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch, fails=True)
    steps = Steps(cuda)
    graph = CudaGraph(steps, expected_steps=1000)
    called = [call(graph, number, number + 1) for number in range(15)]
    assert [taken[:2] for taken in steps.taken] == called
    assert [taken[2] for taken in steps.taken] == 11 * ["warming up"] + 4 * ["plain"]


def test_a_short_training_records_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(FakeCuda(monkeypatch))
    graph = CudaGraph(steps, expected_steps=300)
    called = [call(graph, number, number + 1) for number in range(15)]
    assert steps.taken == [(*taken, "plain") for taken in called]


def test_a_small_batch_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training resumed at an epoch's last step, or an epoch of so few steps that a small batch comes twelfth."""
    steps = Steps(FakeCuda(monkeypatch))
    graph = CudaGraph(steps, expected_steps=1000)
    called = [call(graph, *((number,) if number == 11 else (number, number + 1))) for number in range(20)]
    assert [taken[:2] for taken in steps.taken] == called
