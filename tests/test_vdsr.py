"""VDSR: the published network, the enlargements around it, and that tiles are the whole picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import support
from facevae.config import UPSCALE_FACTORS, UpscalerConfig
from facevae.errors import UsageError
from facevae.model import upscaling
from facevae.model.inference import to_tensor
from facevae.model.resampling import resized
from facevae.model.upscaling import count_tiles, upscale_images
from facevae.model.vdsr import VDSR, luma_of, receptive_radius
from helpers import tiny_upscaler

CPU = torch.device("cpu")
SHAPES = [(1, 1), (1, 9), (7, 1), (2, 3), (13, 8), (32, 32)]


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """An image in which every pixel matters."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_pillow(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Pillow's bicubic enlargement of a plane of floats, which it does not round."""
    enlarged = Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC)
    assert enlarged.mode == "F"
    return np.asarray(enlarged)


# --------------------------------------------------------------------------------------------------- the network


def parts(network: VDSR) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The weights and the biases, layer by layer."""
    named = list(network.named_parameters())
    return tuple([value for name, value in named if name.endswith(end)] for end in ("weight", "bias"))  # type: ignore[return-value]


def test_the_network_is_that_of_the_paper() -> None:
    """Section 3.1: 20 layers, all but the first and the last with 64 filters of 3 x 3 x 64; no change of size."""
    network = VDSR()
    weights, biases = parts(network)
    assert [tuple(weight.shape) for weight in weights] == [(64, 1, 3, 3), *[(64, 64, 3, 3)] * 18, (1, 64, 3, 3)]
    assert sum(weight.numel() for weight in weights) == 664_704
    assert sum(bias.numel() for bias in biases) == 1_217
    assert network(torch.rand(2, 1, 7, 5)).shape == (2, 1, 7, 5)


def test_the_initial_weights_are_he_s_and_the_last_layer_zero() -> None:
    weights, biases = parts(VDSR())
    assert float(weights[5].detach().std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    assert not any(bool(bias.any()) for bias in biases)
    assert not bool(weights[-1].any())


def test_there_is_a_relu_after_each_layer_but_the_last() -> None:
    network = tiny_upscaler().network
    luma = torch.rand(1, 1, 6, 6)
    maps = luma
    for layer in network.layers[:-1]:
        maps = torch.relu(layer(maps))
    assert torch.allclose(network(luma), network.layers[-1](maps), atol=1e-6)
    assert bool((network(luma) < 0).any())


@pytest.mark.parametrize(("depth", "channels"), [(2, 3), (5, 2)])
def test_an_output_depends_on_the_pixels_within_the_receptive_radius_alone(depth: int, channels: int) -> None:
    config = UpscalerConfig(depth=depth, channels=channels)
    network = VDSR(config).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.rand_like(parameter))  # positive, so that no path is cut by a ReLU
    radius = receptive_radius(config)
    assert radius == depth
    luma = torch.rand(1, 1, 25, 25, dtype=torch.float64)
    changed = luma.clone()
    changed[0, 0, 12, 12] += 0.5
    rows, columns = torch.nonzero((network(changed) - network(luma))[0, 0], as_tuple=True)
    assert (int(rows.min()), int(rows.max())) == (12 - radius, 12 + radius)
    assert (int(columns.min()), int(columns.max())) == (12 - radius, 12 + radius)


def test_the_default_looks_20_pixels_far() -> None:
    """Section 3.1: a receptive field of (2D + 1) x (2D + 1)."""
    assert receptive_radius(UpscalerConfig()) == 20


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 1}, "A depth of 1 convolutions is out of range: use a whole number from 2 to 100 (paper: 20)."),
        ({"depth": 101}, "A depth of 101 convolutions is out of range: use a whole number from 2 to 100 (paper: 20)."),
        ({"channels": 0}, "A width of 0 channels is out of range: use a whole number from 1 to 1024 (paper: 64)."),
        ({"channels": 2.5}, "A width of 2.5 channels is out of range: use a whole number from 1 to 1024 (paper: 64)."),
    ],
)
def test_networks_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        UpscalerConfig(**values)
    assert str(caught.value) == message


# --------------------------------------------------------------------------------------------------- luma and bicubic


def test_luma_is_that_of_pillow_within_rounding() -> None:
    image = noise(40, 30)
    picture = Image.fromarray(image)
    mine = luma_of(to_tensor(image[None], CPU))[0, 0].double().numpy() * 255
    assert np.abs(mine - np.asarray(picture.convert("L"))).max() <= 0.51
    # To this mode Pillow rounds down.
    above = mine - np.asarray(picture.convert("YCbCr"))[:, :, 0]
    assert above.min() > -0.05
    assert above.max() < 1.05


def test_adding_to_all_colours_is_adding_to_the_luma_and_leaves_the_chroma() -> None:
    """The paper works on luma alone (section 5.2); in RGB that is the same residual on all three."""
    image = to_tensor(noise(5, 6)[None], CPU).double()
    residual = torch.rand(1, 1, 5, 6, dtype=torch.float64) - 0.5

    def chroma(picture: torch.Tensor) -> torch.Tensor:
        blue = (picture[:, 2:] - luma_of(picture)) * 0.564
        red = (picture[:, :1] - luma_of(picture)) * 0.713
        return torch.cat([blue, red], dim=1)

    assert torch.allclose(luma_of(image + residual), luma_of(image) + residual, atol=1e-12)
    assert torch.allclose(chroma(image + residual), chroma(image), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factor", UPSCALE_FACTORS)
def test_the_enlargement_is_pillow_s_bicubic(shape: tuple[int, int], factor: int) -> None:
    height, width = shape
    luma = np.random.default_rng(1).random(shape, dtype=np.float32)
    mine = resized(torch.from_numpy(luma)[None, None], height * factor, width * factor)[0, 0].numpy()
    assert np.allclose(mine, by_pillow(luma, height * factor, width * factor), atol=1e-5)


@pytest.mark.parametrize("filter_name", ["bicubic", "bilinear"])
def test_the_reduction_is_pillow_s_too(filter_name: Any) -> None:
    luma = np.random.default_rng(2).random((96, 96), dtype=np.float32)
    method = Image.Resampling[filter_name.upper()]
    theirs = np.asarray(Image.fromarray(luma).resize((32, 24), method))
    mine = resized(torch.from_numpy(luma)[None, None], 24, 32, filter_name)[0, 0].numpy()
    assert np.allclose(mine, theirs, atol=1e-5)


def test_nothing_is_resampled_at_its_own_size() -> None:
    image = torch.rand(1, 1, 5, 5)
    assert resized(image, 5, 5) is image


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factor", UPSCALE_FACTORS)
def test_a_last_layer_of_zeros_gives_exactly_the_bicubic_enlargement(shape: tuple[int, int], factor: int) -> None:
    """Section 3.1: what the network gives is added to the interpolated image."""
    height, width = shape
    image = noise(height, width, seed=3)
    (enlarged,) = upscale_images(VDSR().eval(), [image], factor)
    planes = [by_pillow(image[:, :, c].astype(np.float32), height * factor, width * factor) for c in range(3)]
    floats = np.stack(planes, axis=2)
    assert enlarged.shape == (height * factor, width * factor, 3)
    assert enlarged.dtype == np.uint8
    # Where a float lies on the border between two levels, the last digit decides.
    sure = np.abs(floats - np.floor(floats) - 0.5) > 1e-3
    expected = np.clip(np.round(floats), 0, 255).astype(np.uint8)
    assert np.array_equal(enlarged[sure], expected[sure])
    assert np.abs(enlarged.astype(int) - expected).max() <= 1


# --------------------------------------------------------------------------------------------------- pictures in tiles


def whole(images: list[NDArray[np.uint8]], factor: int, network: VDSR) -> list[NDArray[np.float64]]:
    """Each picture through the network in one piece, in double precision and unrounded."""
    network = VDSR(network.config).double()
    network.load_state_dict(tiny_upscaler().network.state_dict())
    results = []
    with torch.no_grad():
        for image in images:
            small = torch.from_numpy(image).permute(2, 0, 1)[None].double() / 255
            enlarged = resized(small, image.shape[0] * factor, image.shape[1] * factor)
            results.append((enlarged + network(luma_of(enlarged)))[0].permute(1, 2, 0).numpy() * 255)
    return results


def close(found: NDArray[np.uint8], expected: NDArray[np.float64]) -> bool:
    """Whether levels are the expected floats, clipped and rounded."""
    return bool(np.abs(found - np.clip(expected, 0, 255)).max() <= 0.51)


@given(
    height=st.integers(1, 23),
    width=st.integers(1, 23),
    factor=st.sampled_from(UPSCALE_FACTORS),
    tile=st.integers(4, 40),
)
def test_tiles_are_the_whole_picture_at_every_border(height: int, width: int, factor: int, tile: int) -> None:
    image = noise(height, width, seed=height * 100 + width)
    network = tiny_upscaler().network
    before = upscaling.TILE
    upscaling.TILE = tile
    try:
        assert count_tiles([image], factor) == -(-height * factor // tile) * -(-width * factor // tile)
        (found,) = upscale_images(network, [image], factor)
    finally:
        upscaling.TILE = before
    assert close(found, whole([image], factor, network)[0])


def test_the_margin_is_no_wider_than_it_must_be_nor_narrower(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a margin of less the borders of the tiles show: so the test above can fail."""
    monkeypatch.setattr(upscaling, "TILE", 12)
    image, network = noise(20, 20), tiny_upscaler().network
    (expected,) = whole([image], 2, network)
    assert close(upscale_images(network, [image], 2)[0], expected)
    monkeypatch.setattr(upscaling, "receptive_radius", lambda config: 0)
    monkeypatch.setattr(upscaling, "_CUBIC_REACH", 0)
    assert not close(upscale_images(network, [image], 2)[0], expected)


def test_several_pictures_keep_their_order_and_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscaling, "TILE", 16)
    images = [noise(height, width, seed) for seed, (height, width) in enumerate(SHAPES)]
    network = tiny_upscaler().network
    told: list[int] = []
    found = upscale_images(network, images, 3, told=told.append)
    assert [image.shape for image in found] == [(height * 3, width * 3, 3) for height, width in SHAPES]
    assert all(close(*pair) for pair in zip(found, whole(images, 3, network), strict=True))
    assert told == list(range(1, count_tiles(images, 3) + 1))


def test_the_number_of_threads_changes_nothing_and_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscaling, "TILE", 24)
    images = [noise(30, 40), noise(9, 9)]
    network = tiny_upscaler().network
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = upscale_images(network, images, 2)
        torch.set_num_threads(2)
        together = upscale_images(network, images, 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(*pair) for pair in zip(alone, together, strict=True))


def test_no_picture_is_no_work() -> None:
    assert upscale_images(tiny_upscaler().network, [], 3) == []


def test_bfloat16_stays_close() -> None:
    images = list(support.random_images(2))
    network = tiny_upscaler().network
    exact, rough = (upscale_images(network, images, 3, dtype) for dtype in (torch.float32, torch.bfloat16))
    difference = np.abs(np.stack(exact).astype(int) - np.stack(rough))
    assert 0 < difference.max() <= 6
    assert difference.mean() < 1


def test_read_only_images_as_pillow_gives_them_are_taken_without_a_warning() -> None:
    image = noise(9, 7)
    (expected,) = upscale_images(tiny_upscaler().network, [image], 2)
    image.setflags(write=False)
    (found,) = upscale_images(tiny_upscaler().network, [image], 2)
    np.testing.assert_array_equal(found, expected)
