"""The ranks of a training: shares, sums, and that training on shares is training on the whole, with threads for processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from facevae.config import ModelConfig, TrainConfig
from facevae.errors import LostRankError, UsageError
from facevae.model import ranks, training
from facevae.model.precision import Precision
from facevae.model.ranks import Ranks, joined
from facevae.model.training import MeanLoss, Trainer, evaluate_loss, new_vae
from support import random_images, same_state

CPU = torch.device("cpu")


@given(batch=st.integers(1, 700), count=st.integers(1, 40))
def test_shares_are_the_whole_batch(batch: int, count: int) -> None:
    shares = [Ranks(rank, count).share(batch) for rank in range(count)]
    rows = [list(range(batch))[rows] for rows, _ in shares]
    assert sum(images for _, images in shares) == pytest.approx(batch, rel=1e-12)
    if batch < 2 * count:
        assert rows == [list(range(batch))] * count
        assert len({images for _, images in shares}) == 1
    else:
        assert list(chain.from_iterable(rows)) == list(range(batch))
        assert [float(len(share)) for share in rows] == [images for _, images in shares]
        assert min(map(len, rows)) >= 2
        assert max(map(len, rows)) - min(map(len, rows)) <= 1


def test_only_the_first_leads() -> None:
    assert [Ranks(rank, 3).leads for rank in range(3)] == [True, False, False]
    assert Ranks().leads


def test_one_rank_needs_no_distributed_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some builds have none: then `torch.distributed` is there, and next to nothing in it."""
    monkeypatch.setattr(ranks, "dist", SimpleNamespace(is_available=lambda: False))
    tensor = torch.ones(2)
    assert Ranks().sum(tensor) is tensor
    assert Ranks().highest(7) == 7
    Ranks().sum_gradients([nn.Parameter(tensor)])
    with (
        pytest.raises(
            UsageError, match=r"^This PyTorch was built without torch.distributed: it trains in one process alone\.$"
        ),
        joined(CPU),
    ):
        pass


def test_gradients_are_summed_in_place_and_in_any_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    def all_reduce(tensor: Tensor, operation: Any) -> None:
        assert operation == dist.ReduceOp.SUM
        sent.append(tensor.numel())
        tensor.mul_(3.0)

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    filters = torch.arange(48.0).view(2, 3, 4, 2)
    parameters = [nn.Parameter(filters), nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(()))]
    parameters[0].grad = filters.to(memory_format=torch.channels_last, copy=True)
    parameters[2].grad = torch.tensor(2.0)
    before = parameters[0].grad
    Ranks(0, 2).sum_gradients(parameters)
    assert sent == [49]
    assert parameters[0].grad is before
    assert before.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(before, 3 * filters)
    assert parameters[1].grad is None
    assert parameters[2].grad.item() == 6.0


def test_a_lost_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_reduce(tensor: Tensor, operation: Any) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    lost: list[Callable[[Ranks], object]] = [
        lambda of: of.sum(torch.ones(1)),
        lambda of: of.highest(1),
        lambda of: of.sum_gradients([_with_gradient()]),
    ]
    for call in lost:
        with pytest.raises(LostRankError) as error:
            call(Ranks(2, 5))
        assert str(error.value) == (
            "Rank 2 of 5 lost another one: its process ended, or the network between them failed."
        )


def _with_gradient() -> nn.Parameter:
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.ones(1)
    return parameter


def test_meeting_and_leaving() -> None:
    store = dist.HashStore()  # type: ignore[attr-defined]
    with joined(CPU, store, 0, 1) as found:
        assert found == Ranks(0, 1)
        with pytest.raises(LostRankError) as error, joined(CPU, store, 0, 1):
            pass
    assert str(error.value) == ("The processes could not meet (trying to initialize the default process group twice!).")
    assert not dist.is_initialized()
    with pytest.raises(UsageError) as refused, joined(torch.device("mps")):
        pass
    assert str(refused.value) == "Several processes cannot train on mps together: use --device cpu or cuda."


# ------------------------------------------------------------------------- several ranks, as threads of this process


@dataclass(frozen=True)
class ThreadRanks(Ranks):
    """A rank whose others are threads: they lay their tensors side by side, and each adds them up in the same order."""

    barrier: Barrier = field(default_factory=lambda: Barrier(1))
    table: list[Tensor] = field(default_factory=list)

    def _reduce(self, tensor: Tensor, operation: str) -> Tensor:
        self.table[self.rank] = tensor.clone()
        self.barrier.wait(60)
        stacked = torch.stack(self.table)
        self.barrier.wait(60)
        return tensor.copy_(stacked.sum(0) if operation == "SUM" else stacked.max())


TINY = ModelConfig(image_size=16, channels=4, latent_dim=3)
Trained = tuple[Trainer, MeanLoss, MeanLoss]


def new_trainer(images: int, batch_size: int, of: Ranks) -> Trainer:
    config = TrainConfig(batch_size=batch_size, seed=3, learning_rate=1e-2, kl_weight=0.7)
    return Trainer(new_vae(TINY, 3).double(), torch.from_numpy(random_images(images, 16)), config, ranks=of)


def trained(trainer: Trainer) -> Trained:
    for _ in range(7):
        trainer.advance()
    loss = trainer.read_loss()
    valid = torch.from_numpy(random_images(30, 16, seed=1))
    return trainer, loss, evaluate_loss(trainer.vae.float(), valid, trainer.config, trainer.ranks)


def trained_alone(images: int, batch_size: int) -> Trained:
    return trained(new_trainer(images, batch_size, Ranks()))


def trained_together(count: int, images: int, batch_size: int) -> list[Trained]:
    barrier, table = Barrier(count), [torch.empty(0)] * count
    # Made here, because initial weights are drawn from the random state that threads share.
    trainers = [new_trainer(images, batch_size, ThreadRanks(rank, count, barrier, table)) for rank in range(count)]

    def one(trainer: Trainer) -> Trained:
        try:
            return trained(trainer)
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, trainers))


@pytest.fixture
def in_double_precision(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So that rounding cannot be mistaken for a difference."""
    monkeypatch.setattr(training, "resolve_precision", lambda *_: Precision("fp32", torch.float64, "for the test"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    yield
    monkeypatch.undo()
    torch.set_num_threads(before)


LAST_BATCHES = [
    pytest.param(2, 29, 12, id="of five, uneven"),
    pytest.param(3, 29, 14, id="of one, which sits out"),
    pytest.param(4, 21, 13, id="of two a rank"),
    pytest.param(2, 27, 12, id="of three for two"),
    pytest.param(5, 14, 12, id="of two for five"),
]


@pytest.mark.parametrize(("count", "images", "batch_size"), LAST_BATCHES)
@pytest.mark.usefixtures("in_double_precision")
def test_training_on_shares_is_training_on_the_whole(count: int, images: int, batch_size: int) -> None:
    alone, loss, _ = trained_alone(images, batch_size)
    together = trained_together(count, images, batch_size)
    first, _, first_valid_loss = together[0]
    for trainer, other_loss, other_valid_loss in together:
        assert (trainer.epoch, trainer.step) == (alone.epoch, alone.step)
        assert other_loss == pytest.approx(loss, rel=1e-6)
        assert_close(trainer.vae.named_parameters(), alone.vae.named_parameters())
        assert same_state(trainer.vae, first.vae), "the ranks have drifted apart"
        assert other_valid_loss == first_valid_loss


@pytest.mark.parametrize(("count", "images", "batch_size"), LAST_BATCHES)
@pytest.mark.usefixtures("in_double_precision")
def test_running_averages_on_shares(count: int, images: int, batch_size: int) -> None:
    alone, _, valid_loss = trained_alone(images, batch_size)
    trainer, _, other_valid_loss = trained_together(count, images, batch_size)[0]
    assert_close(trainer.vae.named_buffers(), alone.vae.named_buffers())
    assert other_valid_loss == pytest.approx(valid_loss, rel=1e-5)


def assert_close(got: Iterable[tuple[str, Tensor]], wanted: Iterable[tuple[str, Tensor]]) -> None:
    for (name, one), (_, other) in zip(got, wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=1e-7), name
