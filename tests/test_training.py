"""The training loop: what a step does, that it is repeatable, and that it can stop and go on anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from facevae.config import ModelConfig, TrainConfig
from facevae.model import training
from facevae.model.blocked import BlockedPass, PassOutput
from facevae.model.inference import to_tensor
from facevae.model.losses import vae_loss, weighted_loss
from facevae.model.training import Trainer, evaluate_loss, new_vae, seeded_generator
from facevae.storage.checkpoint import load_checkpoint, save_checkpoint
from facevae.storage.history import HistoryPoint
from support import random_images, same_state

TINY = ModelConfig(image_size=16, channels=4, latent_dim=4)
CPU = torch.device("cpu")


def images(count: int = 14, seed: int = 0) -> Tensor:
    return torch.from_numpy(random_images(count, 16, seed))


def make_trainer(count: int = 14, **options: int | float | str) -> Trainer:
    options = {"batch_size": 4, "seed": 3, "learning_rate": 1e-2, "precision": "fp32", **options}
    config = TrainConfig(**options)  # type: ignore[arg-type]
    return Trainer(new_vae(TINY, config.seed), images(count), config)


def run(trainer: Trainer, steps: int) -> Trainer:
    for _ in range(steps):
        trainer.advance()
    return trainer


def test_one_seed_gives_one_training() -> None:
    first, second = run(make_trainer(), 9), run(make_trainer(), 9)
    assert same_state(first.vae, second.vae)
    assert first.read_loss() == second.read_loss()


def test_another_seed_gives_another_training() -> None:
    assert not same_state(run(make_trainer(), 3).vae, run(make_trainer(seed=4), 3).vae)


def test_the_seed_also_sets_order_and_noise() -> None:
    first, second = make_trainer(), make_trainer(seed=4)
    second.vae.load_state_dict(first.vae.state_dict())
    assert not same_state(run(first, 1).vae, run(second, 1).vae)


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = new_vae(TINY, 5)
    torch.manual_seed(2)
    assert same_state(first, new_vae(TINY, 5))
    assert not same_state(first, new_vae(TINY, 6))


def test_a_new_network_leaves_the_global_random_state_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", touched.append)
    before = torch.random.get_rng_state()
    new_vae(TINY, 5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not touched, "the generators of the GPUs were seeded"


def test_training_leaves_the_global_random_state_alone() -> None:
    trainer = make_trainer()
    before, before_numpy = torch.random.get_rng_state(), str(np.random.get_state())
    run(trainer, 5)
    evaluate_loss(trainer.vae, images(), trainer.config)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert str(np.random.get_state()) == before_numpy


def test_generators_differ_in_every_number() -> None:
    numbers = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 2), (2**63 - 1, 0, 0)]
    streams = {tuple(torch.randn(4, generator=seeded_generator(CPU, *n)).tolist()) for n in numbers}
    assert len(streams) == len(numbers)
    again = torch.randn(4, generator=seeded_generator(CPU, 0, 1, 0))
    assert tuple(again.tolist()) in streams


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The values of the first pixels of each batch that the trainer shows to the network."""
    batches: list[list[int]] = []

    def record(self: BlockedPass, images: Tensor, noise: Tensor) -> PassOutput:
        batches.append(images[:, 0, 0, 0].tolist())
        return real(self, images, noise)

    real = BlockedPass.__call__
    monkeypatch.setattr(BlockedPass, "__call__", record)
    return batches


def numbered(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 16, 16, 3).contiguous()


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (9, 4, [4, 4]), (3, 500, [3]), (2, 2, [2]), (11, 3, [3, 3, 3, 2])],
)
def test_every_image_is_seen_once_an_epoch(
    seen: list[list[int]], count: int, batch_size: int, sizes: list[int]
) -> None:
    config = TrainConfig(batch_size=batch_size)
    trainer = Trainer(new_vae(TINY, 0), numbered(count), config)
    assert trainer.steps_per_epoch == len(sizes)
    orders = []
    for epoch in range(3):
        assert (trainer.epoch, trainer.step) == (epoch, 0)
        returned = [trainer.advance() for _ in sizes]
        order = [value for batch in seen for value in batch]
        assert [len(batch) for batch in seen] == returned == sizes
        # A rest of one image cannot be normalised as a batch: it sits out.
        assert len(set(order)) == len(order) == sum(sizes)
        assert set(order) <= set(range(count))
        orders.append(order)
        seen.clear()
    assert (trainer.epoch, trainer.step) == (3, 0)
    if count > 3:
        assert orders[0] != orders[1] != orders[2]


def test_every_step_has_its_own_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    noises: list[tuple[float, ...]] = []

    def record(self: BlockedPass, images: Tensor, noise: Tensor) -> PassOutput:
        noises.append(tuple(noise.flatten().tolist()))
        return real(self, images, noise)

    real = BlockedPass.__call__
    monkeypatch.setattr(BlockedPass, "__call__", record)
    trainer = make_trainer(8)
    run(trainer, 3 * trainer.steps_per_epoch)
    assert len(set(noises)) == len(noises) == 6


def test_an_image_that_sat_out_is_drawn_anew_each_epoch(seen: list[list[int]]) -> None:
    trainer = Trainer(new_vae(TINY, 0), numbered(5), TrainConfig(batch_size=2))
    run(trainer, 2 * 30)
    assert {value for batch in seen for value in batch} == set(range(5))


def test_position_is_told_in_epochs() -> None:
    trainer = make_trainer(10)
    positions = [trainer.epochs_done]
    for _ in range(4):
        trainer.advance()
        positions.append(trainer.epochs_done)
    assert positions == [0.0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0, pytest.approx(4 / 3)]


def test_a_step_is_adams_along_the_gradient_of_the_loss() -> None:
    trainer = make_trainer(4, kl_weight=3.0, reconstruction_weight=50.0)
    twin = new_vae(TINY, 3).train()
    order = torch.randperm(4, generator=seeded_generator(CPU, 3, 0, 0))
    noise = torch.randn(4, 4, generator=seeded_generator(CPU, 3, 0, 1))
    batch = to_tensor(images(4)[order], CPU)
    parts = vae_loss(batch, *twin(batch, noise), reconstruction_weight=50.0, kl_weight=3.0)
    parts.total.backward()  # type: ignore[no-untyped-call]
    trainer.advance()
    assert trainer.read_loss()[:4] == pytest.approx([float(part.detach()) for part in parts])
    compared = 0
    for before, after in zip(twin.parameters(), trainer.vae.parameters(), strict=True):
        assert before.grad is not None
        # Of the biases before a norm the gradient is zero, or autograd's rounding noise.
        clear = before.grad.abs() > 1e-4
        expected = before - 1e-2 * before.grad / (before.grad.abs() + 1e-8)
        torch.testing.assert_close(after[clear], expected[clear], rtol=1e-4, atol=1e-5)
        compared += int(clear.sum())
    assert compared > 500


def test_training_lowers_the_loss() -> None:
    trainer = make_trainer(14, reconstruction_weight=2000.0)
    before = evaluate_loss(trainer.vae, images(), trainer.config)
    run(trainer, 40 * trainer.steps_per_epoch)
    after = evaluate_loss(trainer.vae, images(), trainer.config)
    assert after.mse < 0.5 * before.mse
    assert after.total < 0.5 * before.total


def test_read_loss_is_the_mean_over_images_since_the_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[tuple[int, list[float]]] = []

    def record(*arguments: Tensor, **options: float) -> object:
        parts = weighted_loss(*arguments, **options)  # type: ignore[arg-type]
        losses.append((len(arguments[1]), [float(part.detach()) for part in parts]))
        return parts

    monkeypatch.setattr(training, "weighted_loss", record)
    trainer = make_trainer(10)
    run(trainer, 3)
    assert [count for count, _ in losses] == [4, 4, 2]
    expected = sum(count * np.array(parts) for count, parts in losses) / 10
    assert trainer.read_loss()[:4] == pytest.approx(expected)
    losses.clear()
    run(trainer, 1)
    assert trainer.read_loss()[:4] == pytest.approx(losses[0][1])
    assert trainer.read_loss() == (0.0, 0.0, 0.0, 0.0, 0)


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 6, 8])
def test_going_on_from_a_checkpoint_is_the_unbroken_training(steps: int, tmp_path: Path) -> None:
    """14 images in batches of 4 make four steps an epoch: 0 is before the first, 4 and 8 between two, the rest within one."""
    unbroken = run(make_trainer(), 11)
    halted = run(make_trainer(), steps)
    point = HistoryPoint(0.5, "train", 1.0, 0.75, 0.25, 0.1, 12.0)
    path = tmp_path / "vae.checkpoint.safetensors"
    save_checkpoint(path, halted, seconds=1.5, faces_fingerprint="abc", history=[point])

    checkpoint = load_checkpoint(path)
    assert (checkpoint.epoch, checkpoint.step) == divmod(steps, 4)
    assert (checkpoint.model, checkpoint.train) == (TINY, halted.config)
    assert (checkpoint.seconds, checkpoint.faces_fingerprint, checkpoint.history) == (1.5, "abc", [point])
    vae = new_vae(checkpoint.model, 99)
    checkpoint.restore_network(vae)
    assert same_state(vae, halted.vae)
    resumed = Trainer(vae, images(), checkpoint.train, epoch=checkpoint.epoch, step=checkpoint.step)
    checkpoint.restore_optimizer(resumed)
    run(resumed, 11 - steps)
    assert same_state(resumed.vae, unbroken.vae)
    assert (resumed.epoch, resumed.step) == (unbroken.epoch, unbroken.step)
    # And its optimiser: the next steps agree as well.
    assert same_state(run(resumed, 3).vae, run(unbroken, 3).vae)


def test_without_the_optimiser_the_training_would_differ(tmp_path: Path) -> None:
    """Shows that the test above can fail."""
    unbroken, halted = run(make_trainer(), 7), run(make_trainer(), 6)
    forgetful = Trainer(halted.vae, images(), halted.config, epoch=halted.epoch, step=halted.step)
    assert not same_state(run(forgetful, 1).vae, unbroken.vae)


def test_evaluation_is_repeatable_and_changes_nothing() -> None:
    trainer = run(make_trainer(), 5)
    state = {name: value.clone() for name, value in trainer.vae.state_dict().items()}
    first = evaluate_loss(trainer.vae, images(seed=1), trainer.config)
    torch.manual_seed(123)
    assert evaluate_loss(trainer.vae, images(seed=1), trainer.config) == first
    assert all(torch.equal(value, state[name]) for name, value in trainer.vae.state_dict().items())
    assert not trainer.vae.training
    # The loop goes on in training mode all the same.
    trainer.advance()
    assert trainer.vae.training


def test_evaluation_is_the_loss_by_hand() -> None:
    trainer = run(make_trainer(kl_weight=0.5, reconstruction_weight=30.0), 5)
    data = images(10, seed=1)
    loss = evaluate_loss(trainer.vae, data, trainer.config)
    vae = trainer.vae.eval()
    squares, divergences = 0.0, 0.0
    for number, rows in enumerate((slice(0, 4), slice(4, 8), slice(8, 10))):
        batch = data[rows].numpy().transpose(0, 3, 1, 2) / 255.0
        with torch.no_grad():
            mean, log_variance = vae.encode(torch.from_numpy(batch).float())
            noise = torch.randn(mean.shape, generator=seeded_generator(CPU, 3, 2**31, number))
            output = vae.decode(mean + torch.exp(log_variance / 2) * noise).double().numpy()
        squares += float(((output - batch) ** 2).sum())
        mu, log_var = mean.double().numpy(), log_variance.double().numpy()
        divergences += float((mu**2 + np.exp(log_var) - log_var - 1).sum() / 2)
    mse, kl = squares / (10 * 3 * 16 * 16), divergences / 10
    assert loss[:4] == pytest.approx([30.0 * mse + 0.5 * kl, 30.0 * mse, kl, mse], rel=1e-5)


def images_met(trainer: Trainer, steps: int) -> Tensor:
    """The images of the next steps, in order."""
    met: list[Tensor] = []
    own = trainer._images_of

    def watched(rows: Tensor) -> Tensor:
        met.append(own(rows))
        return met[-1]

    trainer._images_of = watched  # type: ignore[method-assign]
    run(trainer, steps)
    return torch.cat(met)


def test_flipping_mirrors_about_half_of_the_images_and_changes_nothing_else() -> None:
    given = images(200)
    plain = images_met(make_trainer(200, batch_size=50), 4)
    flipped = images_met(make_trainer(200, batch_size=50, flip=True), 4)
    assert {image.numpy().tobytes() for image in plain} == {image.numpy().tobytes() for image in given}
    mirrored = torch.tensor([not torch.equal(a, b) for a, b in zip(plain, flipped, strict=True)])
    assert 70 < int(mirrored.sum()) < 130
    assert torch.equal(flipped[mirrored], plain[mirrored].flip(2))


def test_flipping_is_drawn_anew_in_each_epoch_and_goes_on_where_it_was() -> None:
    unbroken = images_met(make_trainer(40, batch_size=20, flip=True), 4)
    broken = make_trainer(40, batch_size=20, flip=True)
    run(broken, 1)
    resumed = Trainer(broken.vae, images(40), broken.config, epoch=broken.epoch, step=broken.step)
    assert torch.equal(images_met(resumed, 3), unbroken[20:])
    first, second = ({image.numpy().tobytes() for image in epoch} for epoch in (unbroken[:40], unbroken[40:]))
    assert 0 < len(first & second) < 40, "the same images are mirrored in both epochs"
