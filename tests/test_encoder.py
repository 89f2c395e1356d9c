"""The folded encoder against the network's own modules, and its blocks and batches against one another."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facevae.config import ModelConfig
from facevae.model.encoder import FoldedEncoder, Images, block_images
from facevae.model.inference import encode_images, to_tensor
from facevae.model.vae import VAE
from support import random_images, randomised

TINY = ModelConfig(image_size=16, channels=4, latent_dim=5)


def trained(config: ModelConfig = TINY) -> VAE:
    return randomised(config, 3)


def encoded(encoder: FoldedEncoder, images: Images) -> Any:
    """Mean and log-variance, one above the other."""
    ((mean, log_variance),) = encoder.batches([images])
    return np.stack([mean, log_variance])


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("slope", [0.3, 0.05])
def test_folding_changes_nothing_but_rounding(channels: int, slope: float) -> None:
    """Three channels, as many as the images have, must not be taken for them."""
    vae = trained(ModelConfig(image_size=16, channels=channels, latent_dim=5, negative_slope=slope, norm_epsilon=0.1))
    images = random_images(7, 16)
    with torch.no_grad():
        mean, log_variance = vae.double().encode(to_tensor(images, vae.device).double())
    found = encoded(FoldedEncoder(vae.float()), images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.stack([mean, log_variance]), atol=3e-6)
    assert found.std(axis=1).min() > 1e-4


def test_bfloat16_comes_near() -> None:
    vae, images = trained(), random_images(40, 16)
    exact, rough = (encoded(FoldedEncoder(vae, dtype), images) for dtype in (torch.float32, torch.bfloat16))
    assert rough.dtype == np.float32
    error = np.abs(rough - exact).mean() / np.abs(exact).mean()
    assert 1e-5 < error < 0.02


def test_the_network_is_left_as_it_is() -> None:
    vae = trained().train()
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    encoded(FoldedEncoder(vae, torch.bfloat16), random_images(3, 16))
    assert vae.training
    assert all(torch.equal(before[name], tensor) for name, tensor in vae.state_dict().items())


@pytest.mark.parametrize(
    ("size", "channels", "block"), [(32, 128, 32), (16, 4, 64), (64, 128, 8), (128, 128, 2), (512, 128, 1)]
)
def test_a_block_holds_as_much_as_a_cache(size: int, channels: int, block: int) -> None:
    assert block_images(ModelConfig(image_size=size, channels=channels), torch.device("cpu")) == block


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("threads", [1, 3])
def test_batches_of_whole_blocks_give_the_same_bits(threads: int) -> None:
    """However the images are cut into batches, and on however many threads: then shards can be joined."""
    torch.set_num_threads(1)
    encoder, images = FoldedEncoder(trained()), random_images(130, 16)
    encoder.block = 8
    whole = encoded(encoder, images)
    torch.set_num_threads(threads)
    cuts = [0, 8, 48, 128, 130]
    parts = list(encoder.batches(images[a:b] for a, b in pairwise(cuts)))
    assert [len(mean) for mean, _ in parts] == [8, 40, 80, 2]
    np.testing.assert_array_equal(np.concatenate([np.stack(part) for part in parts], axis=1), whole)
    assert torch.get_num_threads() == threads


@settings(max_examples=15)
@given(sizes=st.lists(st.integers(0, 20), max_size=6), block=st.integers(1, 9))
def test_every_batch_comes_back_in_its_place(sizes: list[int], block: int) -> None:
    encoder = FoldedEncoder(trained())
    encoder.block = block
    images = random_images(sum(sizes), 16) if sum(sizes) else np.zeros((0, 16, 16, 3), dtype=np.uint8)
    ends = np.cumsum(sizes, dtype=int)
    found = list(encoder.batches(images[end - size : end] for end, size in zip(ends, sizes, strict=True)))
    assert [len(mean) for mean, _ in found] == [len(log_variance) for _, log_variance in found] == sizes
    for number, image in enumerate(images):
        batch = int(np.searchsorted(ends, number, side="right"))
        row = number - int(ends[batch]) + sizes[batch]
        alone = encoder(torch.from_numpy(image[None]))[0]
        np.testing.assert_allclose(found[batch][0][row], alone[0].numpy(), atol=1e-5)


def test_batches_are_taken_a_few_at_a_time() -> None:
    """So that memory does not grow with the number of images."""
    taken = 0

    def batches() -> Iterator[Images]:
        nonlocal taken
        for _ in range(500):
            taken += 1
            yield images

    encoder, images = FoldedEncoder(trained()), random_images(2, 16)
    threads = torch.get_num_threads()
    for number, _ in enumerate(encoder.batches(batches()), start=1):
        assert taken <= number + 8 * threads
    assert number == taken == 500


def test_an_error_in_the_source_comes_through() -> None:
    def batches() -> Iterator[Images]:
        yield random_images(2, 16)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(FoldedEncoder(trained()).batches(batches()))


def test_read_only_images_are_taken_without_a_warning() -> None:
    images = np.zeros((3, 16, 16, 3), dtype=np.uint8)
    images.setflags(write=False)
    mean, _ = encode_images(trained(), images)
    assert mean.shape == (3, TINY.latent_dim)
