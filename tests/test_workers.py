"""Blocks on threads of their own: order, errors, modes, and results that don't depend on the number of threads."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch

from facevae.config import ModelConfig, TrainConfig
from facevae.model import blocked
from facevae.model.training import MeanLoss, Trainer, evaluate_loss, new_vae
from facevae.model.vae import VAE
from facevae.model.workers import Workers
from support import random_images, same_state

COUNTS = [1, 3]


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def workers(count: int) -> Workers:
    torch.set_num_threads(count)
    made = Workers()
    assert made.count == torch.get_num_threads() == count
    return made


@pytest.mark.parametrize("count", COUNTS)
def test_results_come_in_the_order_of_the_items(count: int) -> None:
    def slowest_first(item: int) -> int:
        time.sleep(0.02 / (1 + item))
        return item * item

    assert list(workers(count).each(slowest_first, range(20))) == [item * item for item in range(20)]
    assert list(workers(count).each(slowest_first, [])) == []


@pytest.mark.parametrize("count", COUNTS)
def test_an_error_comes_through_and_the_threads_live_on(count: int) -> None:
    made = workers(count)
    with pytest.raises(ZeroDivisionError):
        list(made.each(lambda item: 1 / item, [2, 1, 0, 3]))
    assert list(made.each(lambda item: 1 / item, [2, 1])) == [0.5, 1.0]


@pytest.mark.parametrize("count", COUNTS)
def test_no_gradients_and_inference_as_the_caller_has_it(count: int) -> None:
    made = workers(count)

    def modes(_: int) -> tuple[bool, bool]:
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    assert set(made.each(modes, range(9))) == {(False, False)}
    with torch.inference_mode():
        assert set(made.each(modes, range(9))) == {(False, True)}
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("count", COUNTS)
def test_each_thread_computes_alone_and_all_is_put_back(count: int) -> None:
    made = workers(count)
    with made.alone():
        assert torch.get_num_threads() == 1
        assert set(made.each(lambda _: torch.get_num_threads(), range(9))) == {1}
    assert torch.get_num_threads() == count
    with pytest.raises(ZeroDivisionError), made.alone():
        raise ZeroDivisionError
    assert torch.get_num_threads() == count
    assert workers(2).count == 2  # what those threads have set is theirs


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_does_not_depend_on_the_number_of_threads(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of few images, so that each layer has some; and of 64 in the evaluation, so that it has three."""
    monkeypatch.setattr(blocked, "_BLOCK_BYTES", 4 * 16 * 16 * 4 * 4)
    images = torch.from_numpy(random_images(150, 16))

    def trained(threads: int) -> tuple[VAE, MeanLoss, MeanLoss]:
        torch.set_num_threads(threads)
        config = TrainConfig(batch_size=14, precision=precision, learning_rate=1e-2)
        trainer = Trainer(new_vae(ModelConfig(image_size=16, channels=4, latent_dim=3), 0), images[:40], config)
        for _ in range(6):
            trainer.advance()
        assert torch.get_num_threads() == threads
        return trainer.vae, trainer.read_loss(), evaluate_loss(trainer.vae, images, config)

    alone, *losses = trained(1)
    for threads in (2, 3):
        vae, *other_losses = trained(threads)
        assert same_state(vae, alone)
        assert other_losses == losses
