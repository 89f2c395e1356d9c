"""Training VDSR: its pairs against Pillow, its gradients against plain autograd, and that it learns, on any number of threads."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from facevae.config import UPSCALE_FACTORS, UpscalerConfig, UpscalerTrainConfig
from facevae.model.resampling import Filter
from facevae.model.schedule import learning_rate_at
from facevae.model.upscaler_training import (
    Gain,
    MeanErrors,
    Pairs,
    PhotographPairs,
    ReconstructionPairs,
    UpscalerTrainer,
    decibels,
    measure_gain,
    new_optimizer,
    new_upscaler,
)
from facevae.model.vdsr import VDSR, luma_of
from support import drawn_faces, random_images, same_state

CPU = torch.device("cpu")
SMALL = UpscalerConfig(depth=4, channels=8)
PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
LEVEL = 1 / 255


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def plane(luma: NDArray[np.float32], side: int, filter_name: Filter) -> NDArray[np.float32]:
    """What Pillow makes of a plane (H, W) of floats, which it does not round."""
    return np.array(Image.fromarray(luma).resize((side, side), PILLOW[filter_name]))


def luma(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The luma (H, W) of an image (H, W, 3), in [0, 1]."""
    weighed: NDArray[np.float64] = image / 255.0 @ np.array([0.299, 0.587, 0.114])
    return weighed.astype(np.float32)


def config(**options: Any) -> UpscalerTrainConfig:
    return UpscalerTrainConfig(**{"batch_size": 8, "patch_size": 24, "precision": "fp32", **options})


def awakened(network: VDSR, seed: int = 5) -> VDSR:
    """The network with other values in its last layer than the zeros that it begins with."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        last = network.layers[-1]
        assert isinstance(last, nn.Conv2d)
        last.weight.copy_(torch.randn(last.weight.shape, generator=generator) * 0.1)
    return network


# --------------------------------------------------------------------------------------------------- pairs


@pytest.mark.parametrize(("turn", "filter_name"), [(0, "bilinear"), (1, "bicubic"), (2, "bilinear")])
@pytest.mark.parametrize("factor", UPSCALE_FACTORS)
@pytest.mark.parametrize("size", [48, 50])
def test_photographs_are_reduced_and_enlarged_as_pillow_does(
    size: int, factor: int, turn: int, filter_name: Filter
) -> None:
    images = drawn_faces(4, size)
    rows = torch.tensor([2, 0])
    enlarged, wanted = PhotographPairs(torch.from_numpy(images)).pair(rows, factor, turn, CPU)
    small_side = size // factor
    side = small_side * factor
    assert enlarged.shape == wanted.shape == (2, 1, side, side)
    for place, row in enumerate(rows.tolist()):
        image = images[row][:side, :side]
        np.testing.assert_allclose(wanted[place, 0].numpy(), luma(image), atol=1e-6)
        small = np.asarray(Image.fromarray(image).resize((small_side, small_side), PILLOW[filter_name]))
        expected = plane(luma(small), side, "bicubic")
        found = enlarged[place, 0].numpy()
        # Pillow rounds after each of the two directions: a level here and there in the small picture.
        assert np.abs(found - expected).max() < 1.3 * LEVEL
        assert np.abs(found - expected).mean() < 0.25 * LEVEL
        other = PILLOW["bicubic" if filter_name == "bilinear" else "bilinear"]
        small = np.asarray(Image.fromarray(image).resize((small_side, small_side), other))
        assert np.abs(found - plane(luma(small), side, "bicubic")).mean() > 0.5 * LEVEL


def test_reduced_photographs_hold_what_eight_bits_hold() -> None:
    """Every fourth row a level: reduced by 4, all is a quarter of a level, which no file holds."""
    images = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    images[0, ::4] = 1
    enlarged, wanted = PhotographPairs(images).pair(torch.tensor([0]), 4, 0, CPU)
    assert float(enlarged[:, :, 16:-16].abs().max()) == 0.0
    assert float(wanted.mean()) == pytest.approx(LEVEL / 4)


@settings(max_examples=40)
@given(
    size=st.integers(12, 40), factor=st.sampled_from(UPSCALE_FACTORS), turn=st.integers(0, 5), level=st.integers(0, 255)
)
def test_nothing_is_missing_from_a_photograph_of_one_colour(size: int, factor: int, turn: int, level: int) -> None:
    images = torch.full((3, size, size, 3), level, dtype=torch.uint8)
    enlarged, wanted = PhotographPairs(images).pair(torch.tensor([1, 1]), factor, turn, CPU)
    assert enlarged.shape == wanted.shape == (2, 1, size // factor * factor, size // factor * factor)
    assert float((enlarged - wanted).abs().max()) < 1e-5
    assert float((wanted - level / 255).abs().max()) < 1e-5


@pytest.mark.parametrize(("factor", "filter_name"), [(2, "bilinear"), (3, "bicubic"), (4, "bicubic")])
def test_reconstructions_are_enlarged_and_photographs_brought_to_their_size(factor: int, filter_name: Filter) -> None:
    """Of 16 pixels, beside photographs of 48: reduced for x2, as they are for x3, enlarged for x4."""
    photographs, made = drawn_faces(4, 48), random_images(4, 16)
    pairs = ReconstructionPairs(torch.from_numpy(made), torch.from_numpy(photographs))
    assert pairs.count == 4
    enlarged, wanted = pairs.pair(torch.tensor([3, 1]), factor, 0, CPU)
    assert enlarged.shape == wanted.shape == (2, 1, 16 * factor, 16 * factor)
    for place, row in enumerate([3, 1]):
        np.testing.assert_allclose(
            enlarged[place, 0].numpy(), plane(luma(made[row]), 16 * factor, "bicubic"), atol=1e-5
        )
        np.testing.assert_allclose(
            wanted[place, 0].numpy(), plane(luma(photographs[row]), 16 * factor, filter_name), atol=1e-5
        )
    assert all(
        torch.equal(*both)
        for both in zip(pairs.pair(torch.tensor([3, 1]), factor, 1, CPU), (enlarged, wanted), strict=True)
    )


# --------------------------------------------------------------------------------------------------- steps


class Recorded:
    """Pairs of noise whose missing part is a function of each pixel, and which keep what they were asked for."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.asked: list[tuple[list[int], int, int]] = []
        self._images = torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(1))

    def pair(self, rows: Tensor, factor: int, turn: int, device: torch.device) -> tuple[Tensor, Tensor]:
        self.asked.append((rows.tolist(), factor, turn))
        return self._images[rows], self._images[rows] + missing(self._images[rows])


def missing(enlarged: Tensor) -> Tensor:
    """What `Recorded` wants the network to add: 0.3 - x^2 / 2."""
    return 0.3 - 0.5 * enlarged.square()


class Seen:
    """The patches that go into a network."""

    def __init__(self, network: VDSR) -> None:
        self.patches: list[Tensor] = []
        network.register_forward_pre_hook(lambda _, inputs: self.patches.append(inputs[0].detach().clone()))


@pytest.mark.parametrize("patch_size", [12, 100])
def test_a_step_has_the_gradients_of_the_whole_batch(patch_size: int) -> None:
    """10 patches in blocks of 4, 4 and 2, against one pass in double precision: half the mean squared error."""
    torch.set_num_threads(1)
    network = awakened(new_upscaler(SMALL, 3))
    plain = copy.deepcopy(network).double()
    seen = Seen(network)
    trainer = UpscalerTrainer(network, Recorded(10, 14), config(batch_size=10, patch_size=patch_size))
    assert trainer.advance() == 10
    enlarged = torch.cat(seen.patches).double()
    assert enlarged.shape == (10, 1, *[min(patch_size, 14)] * 2)
    residual = missing(enlarged)
    error = (plain(enlarged) - residual).square().mean()
    (0.5 * error).backward()
    expected_mse = float(error.detach())
    for found, expected in zip(network.parameters(), plain.parameters(), strict=True):
        assert found.grad is not None
        assert expected.grad is not None
        assert float(expected.grad.abs().max()) > 0
        torch.testing.assert_close(found.grad.double(), expected.grad, rtol=1e-4, atol=1e-7)
    errors = trainer.read_errors()
    assert errors.mse == pytest.approx(expected_mse, rel=1e-5)
    assert errors.bicubic == pytest.approx(float(residual.square().mean()), rel=1e-5)
    assert errors.gain == pytest.approx(10 * math.log10(errors.bicubic / errors.mse))
    assert trainer.read_errors().mse == 0.0  # since the last call


def test_the_first_step_moves_the_last_layer_alone() -> None:
    """It begins at zero, so that nothing reaches the layers before it; Muon then leaves them where they are."""
    network = new_upscaler(SMALL, 0)
    before = copy.deepcopy(network)
    trainer = UpscalerTrainer(network, PhotographPairs(torch.from_numpy(drawn_faces(8, 48))), config())
    trainer.advance()
    moved = [
        name
        for (name, parameter), other in zip(network.named_parameters(), before.parameters(), strict=True)
        if not torch.equal(parameter, other)
    ]
    assert moved == ["layers.3.weight", "layers.3.bias"]
    assert all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters())


def test_the_rate_is_that_of_the_schedule() -> None:
    how = config(epochs=3, learning_rate=0.01)
    trainer = UpscalerTrainer(new_upscaler(SMALL, 0), Recorded(20, 12), how)
    assert trainer.steps_per_epoch == 3
    for step in range(9):
        assert trainer.epochs_done == pytest.approx(step / 3)
        expected = learning_rate_at(how, trainer.epochs_done)
        assert trainer.advance() == (8, 8, 4)[step % 3]
        assert trainer.optimizer.adam.rate == expected
    assert (trainer.epoch, trainer.step) == (3, 0)


def test_an_epoch_sees_every_face_once_and_all_factors_and_filters() -> None:
    pairs = Recorded(30, 12)
    trainer = UpscalerTrainer(new_upscaler(SMALL, 0), pairs, config(batch_size=7))
    orders, combinations = [], set()
    for _ in range(4):
        pairs.asked.clear()
        while trainer.step or not pairs.asked:
            trainer.advance()
        orders.append([row for rows, _, _ in pairs.asked for row in rows])
        combinations |= {(factor, turn) for _, factor, turn in pairs.asked}
    assert all(sorted(order) == list(range(30)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert combinations == {(factor, turn) for factor in UPSCALE_FACTORS for turn in (0, 1)}


def test_only_the_factors_asked_for() -> None:
    pairs = Recorded(20, 12)
    trainer = UpscalerTrainer(new_upscaler(SMALL, 0), pairs, config(factors=(3,)))
    for _ in range(6):
        trainer.advance()
    assert {factor for _, factor, _ in pairs.asked} == {3}
    assert {turn for _, _, turn in pairs.asked} == {0, 1}


class Places:
    """Pairs whose pixels say where they are: row * side + column."""

    count = 16

    def __init__(self, side: int) -> None:
        self._image = torch.arange(side * side, dtype=torch.float32).view(1, 1, side, side)

    def pair(self, rows: Tensor, factor: int, turn: int, device: torch.device) -> tuple[Tensor, Tensor]:
        images = self._image.expand(len(rows), 1, -1, -1)
        return images, images


def test_patches_lie_everywhere_up_to_the_borders_and_half_are_mirrored() -> None:
    side, size = 15, 12
    network = new_upscaler(SMALL, 0)
    seen = Seen(network)
    trainer = UpscalerTrainer(network, Places(side), config(batch_size=16, patch_size=size))
    for _ in range(30):
        trainer.advance()
    corners, mirrored = set(), 0
    for patch in torch.cat(seen.patches)[:, 0]:
        if patch[0, 1] < patch[0, 0]:
            patch, mirrored = patch.flip(-1), mirrored + 1
        row, column = divmod(int(patch[0, 0]), side)
        expected = torch.arange(row, row + size)[:, None] * side + torch.arange(column, column + size)
        assert torch.equal(patch, expected.float())
        corners.add((row, column))
    assert corners == {(row, column) for row in range(4) for column in range(4)}
    assert 190 < mirrored < 290  # of 480


def test_an_image_no_larger_than_a_patch_is_taken_whole() -> None:
    network = new_upscaler(SMALL, 0)
    seen = Seen(network)
    UpscalerTrainer(network, Places(12), config(batch_size=16, patch_size=48)).advance()
    patches = torch.cat(seen.patches)
    assert patches.shape == (16, 1, 12, 12)
    assert {int(patch.min()) for patch in patches} == {0}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_result_does_not_depend_on_the_number_of_threads(precision: str) -> None:
    images = torch.from_numpy(drawn_faces(24, 48))

    def trained(threads: int) -> tuple[VDSR, MeanErrors, Gain]:
        torch.set_num_threads(threads)
        network = awakened(new_upscaler(SMALL, 0))
        how = config(batch_size=14, learning_rate=3e-3, precision=precision)
        trainer = UpscalerTrainer(network, PhotographPairs(images), how)
        assert trainer.config.precision == precision
        for _ in range(4):
            trainer.advance()
        assert torch.get_num_threads() == threads
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        return network, trainer.read_errors(), measure_gain(network, PhotographPairs(images[:9]), dtype)

    alone, *figures = trained(1)
    for threads in (2, 3):
        network, *others = trained(threads)
        assert same_state(network, alone)
        assert others == figures


def test_bfloat16_is_nearly_float32() -> None:
    """A step of each from the same state: gradients within a few hundredths of each other, and not the same."""
    gradients = []
    for precision in ("fp32", "bf16"):
        network = awakened(new_upscaler(SMALL, 0))
        pairs = PhotographPairs(torch.from_numpy(drawn_faces(24, 48)))
        UpscalerTrainer(network, pairs, config(batch_size=24, precision=precision)).advance()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in network.parameters()]))  # type: ignore[union-attr]
    difference = float((gradients[0] - gradients[1]).norm() / gradients[0].norm())
    assert 0 < difference < 0.05


def test_going_on_is_exact() -> None:
    """From the network, the optimiser and two numbers, into another memory layout."""
    pairs = PhotographPairs(torch.from_numpy(drawn_faces(24, 48)))
    how = config(batch_size=10, learning_rate=3e-3, epochs=3)
    whole = UpscalerTrainer(new_upscaler(SMALL, 0), pairs, how)
    for _ in range(4):
        whole.advance()
    network = new_upscaler(SMALL, 9)
    network.load_state_dict({name: value.contiguous() for name, value in whole.network.state_dict().items()})
    resumed = UpscalerTrainer(network, pairs, how, epoch=whole.epoch, step=whole.step)
    resumed.optimizer.load_state(
        [{key: one.clone() for key, one in entry.items()} for entry in whole.optimizer.state()]
    )
    whole.read_errors()
    for trainer in (whole, resumed):
        for _ in range(4):
            trainer.advance()
    assert same_state(whole.network, resumed.network)
    assert whole.read_errors() == resumed.read_errors()
    assert (resumed.epoch, resumed.step) == (2, 2)


# --------------------------------------------------------------------------------------------------- network and optimiser


def test_initial_weights_depend_on_the_seed_alone() -> None:
    state = torch.get_rng_state()
    first, again, other = (new_upscaler(SMALL, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert same_state(first, again)
    assert not same_state(first, other)
    assert first.config == SMALL


def test_muon_takes_the_inner_filters_and_adam_the_rest() -> None:
    network = new_upscaler(SMALL, 0)
    optimizer = new_optimizer(network, 1e-3)
    assert [tuple(one.shape) for one in optimizer.momenta] == [(8, 8, 3, 3)] * 2
    assert [tuple(mean.shape) for mean, _ in optimizer.adam.moments] == [
        (8, 1, 3, 3),
        (8,),
        (8,),
        (8,),
        (1, 8, 3, 3),
        (1,),
    ]


# --------------------------------------------------------------------------------------------------- what it gains


@pytest.mark.parametrize("factor", UPSCALE_FACTORS)
def test_the_gain_is_that_of_signal_to_noise_ratios_by_hand(factor: int) -> None:
    """Over six faces, two more than a block, of whole images and of values that a picture can show."""
    images = drawn_faces(6, 48)
    network = awakened(new_upscaler(SMALL, 4))
    found = measure_gain(network, PhotographPairs(torch.from_numpy(images)), torch.float32, factor)
    ratios: dict[str, list[float]] = {"network": [], "bicubic": []}
    errors = []
    for image in images:
        small = np.asarray(Image.fromarray(image).resize((48 // factor, 48 // factor), Image.Resampling.BILINEAR))
        enlarged = torch.from_numpy(plane(luma(small), 48, "bicubic"))
        with torch.no_grad():
            outputs = {"network": enlarged + network(enlarged[None, None])[0, 0], "bicubic": enlarged}
        for name, output in outputs.items():
            error = float(np.mean((output.clamp(0, 1).double().numpy() - luma(image)) ** 2))
            ratios[name].append(10 * math.log10(1 / error))
            if name == "network":
                errors.append(error)
    assert found.psnr == pytest.approx(np.mean(ratios["network"]), abs=0.01)
    assert found.bicubic == pytest.approx(np.mean(ratios["bicubic"]), abs=0.01)
    assert found.mse == pytest.approx(np.mean(errors), rel=0.005)
    assert found.gain == found.psnr - found.bicubic
    assert abs(found.gain) > 0.1


def test_an_untrained_network_gains_exactly_nothing() -> None:
    pairs = PhotographPairs(torch.from_numpy(drawn_faces(5, 48)))
    for dtype in (torch.float32, torch.bfloat16):
        found = measure_gain(new_upscaler(SMALL, 0), pairs, dtype)
        assert found.gain == 0.0
        assert 15 < found.bicubic < 40


def test_equal_images_have_100_decibels() -> None:
    flat = PhotographPairs(torch.full((2, 24, 24, 3), 128, dtype=torch.uint8))
    found = measure_gain(new_upscaler(SMALL, 0), flat, torch.float32)
    assert found.psnr == pytest.approx(100.0)
    assert found.gain == 0.0
    assert decibels(0.0) == decibels(1e-30) == pytest.approx(100.0)
    assert MeanErrors(0.0, 0.0).gain == 0.0


@settings(max_examples=50)
@given(mse=st.floats(1e-10, 1.0), factor=st.floats(0.1, 10.0))
def test_a_tenth_of_the_error_is_ten_decibels(mse: float, factor: float) -> None:
    assert decibels(mse) == pytest.approx(20 * math.log10(1 / math.sqrt(mse)), abs=1e-6)
    errors = MeanErrors(mse, mse * factor)
    assert errors.psnr == decibels(mse)
    if mse * factor >= 1e-10:
        assert errors.gain == pytest.approx(10 * math.log10(factor), abs=1e-6)


def learned(pairs: Pairs, **options: Any) -> VDSR:
    network = new_upscaler(SMALL, 0)
    trainer = UpscalerTrainer(network, pairs, config(**{"epochs": 20, "learning_rate": 3e-3, **options}))
    while trainer.epoch < trainer.config.epochs:
        trainer.advance()
    return network


def test_it_learns_to_enlarge_faces_that_it_has_not_seen() -> None:
    """By every factor, four layers of eight channels and 20 epochs over 24 drawn faces of 48 pixels."""
    faces = torch.from_numpy(drawn_faces(32, 48))
    network = learned(PhotographPairs(faces[:24]))
    for factor in UPSCALE_FACTORS:
        assert measure_gain(network, PhotographPairs(faces[24:]), torch.float32, factor).gain > 0.4, factor


def test_it_learns_what_reconstructions_lack() -> None:
    """Here: that they are all too dark by a tenth, as no enlargement makes up for."""
    faces = drawn_faces(32, 48)
    small = np.stack([np.asarray(Image.fromarray(face).resize((16, 16), Image.Resampling.BILINEAR)) for face in faces])
    dark = torch.from_numpy((small * 0.9).astype(np.uint8))
    pairs = [ReconstructionPairs(dark[rows], torch.from_numpy(faces[rows])) for rows in (slice(24), slice(24, None))]
    network = learned(pairs[0])
    assert measure_gain(network, pairs[1], torch.float32).gain > 1.0


def test_luma_is_that_of_pillow() -> None:
    image = random_images(1, 16)[0]
    expected = np.asarray(Image.fromarray(image).convert("L"))
    found = luma_of(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)[0, 0].numpy() * 255
    assert np.abs(found - expected).max() < 1.0
