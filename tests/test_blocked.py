"""The pass in blocks is the network of networks.py and the loss of losses.py, rearranged: values, gradients and statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from facevae.config import ModelConfig, TrainConfig
from facevae.model import blocked
from facevae.model.blocked import BlockedPass, PassOutput
from facevae.model.losses import LossParts, pixel_weights, vae_loss, weighted_loss
from facevae.model.ranks import Ranks
from facevae.model.training import Trainer, new_vae
from facevae.model.vae import VAE
from facevae.model.whole import WholePass
from facevae.model.workers import Workers
from support import random_images

RECONSTRUCTION_WEIGHT, KL_WEIGHT = 2000.0, 0.7


def batch(count: int, size: int, latent_dim: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    noise = torch.randn(count, latent_dim, generator=torch.Generator().manual_seed(count), dtype=dtype)
    return torch.from_numpy(random_images(count, size)), noise


def plainly(vae: VAE, images: Tensor, noise: Tensor, focus: float = 0.0) -> LossParts:
    """The loss through the network's own modules, and its gradients by autograd."""
    floats = images.permute(0, 3, 1, 2).to(noise.dtype) / 255
    output = vae(floats, noise)
    weights = pixel_weights(images.shape[1], focus)
    parts = vae_loss(floats, *output, reconstruction_weight=RECONSTRUCTION_WEIGHT, kl_weight=KL_WEIGHT, weights=weights)
    parts.total.backward()  # type: ignore[no-untyped-call]
    return parts


def weighted(output: PassOutput) -> LossParts:
    return weighted_loss(*output, reconstruction_weight=RECONSTRUCTION_WEIGHT, kl_weight=KL_WEIGHT)


def in_blocks(
    vae: VAE, images: Tensor, noise: Tensor, dtype: torch.dtype = torch.float64, focus: float = 0.0
) -> LossParts:
    run = BlockedPass(vae, dtype, Ranks(), Workers(), focus)
    parts = weighted(run(images, noise))
    parts.total.backward()  # type: ignore[no-untyped-call]
    run.update_statistics()
    return parts


def twins(size: int = 16, channels: int = 6, latent_dim: int = 5, slope: float = 0.3) -> tuple[VAE, VAE]:
    """Two equal networks in double precision, with weights and biases everywhere."""
    vae = new_vae(ModelConfig(image_size=size, channels=channels, latent_dim=latent_dim, negative_slope=slope), 0)
    vae = vae.double().train()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64), alpha=0.1)
    return vae, copy.deepcopy(vae)


def gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


@settings(max_examples=12, deadline=None)
@given(
    count=st.integers(2, 13),
    size=st.sampled_from([16, 32]),
    images_a_block=st.integers(1, 5),
    slope=st.sampled_from([0.0, 0.01, 0.3]),
    focus=st.sampled_from([0.0, 6.0]),
)
def test_it_is_the_plain_network_rearranged(
    count: int, size: int, images_a_block: int, slope: float, focus: float
) -> None:
    plain, rearranged = twins(size, slope=slope)
    images, noise = batch(count, size, 5)
    with pytest.MonkeyPatch.context() as patch:
        # Of the largest layer; the smaller ones have more images a block.
        patch.setattr(blocked, "_BLOCK_BYTES", images_a_block * size * size * 6 * 8)
        parts = in_blocks(rearranged, images, noise, focus=focus)
    for got, wanted in zip(parts, plainly(plain, images, noise, focus), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
    for (name, got), wanted in zip(rearranged.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(gradient(got), gradient(wanted), rtol=1e-6, atol=1e-8), name
    for got, wanted in zip(rearranged.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("focus", [0.0, 6.0])
def test_the_other_pass_agrees_too(focus: float) -> None:
    """That of GPUs, which computes in float32 what has no lower precision: so up to that."""
    plain, whole = (vae.float() for vae in twins())
    images, noise = batch(8, 16, 5, torch.float32)
    wanted = plainly(plain, images, noise, focus)
    parts = weighted(WholePass(whole, torch.float32, Ranks(), focus)(images, noise))
    parts.total.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(parts, wanted, rtol=1e-5, atol=1e-5)
    for got, expected in zip(whole.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(gradient(got), gradient(expected), rtol=1e-3, atol=1e-3)


def test_half_precision_stays_near() -> None:
    plain, half = (vae.float() for vae in twins(channels=16))
    images, noise = batch(64, 16, 5, torch.float32)
    wanted, parts = plainly(plain, images, noise), in_blocks(half, images, noise, torch.bfloat16)
    assert parts.total.item() == pytest.approx(wanted.total.item(), rel=0.01)
    for (name, got), expected in zip(half.named_parameters(), plain.named_parameters(), strict=True):
        assert got.dtype == gradient(got).dtype == torch.float32
        if float(gradient(expected[1]).norm()) > 1e-3:
            cosine = torch.cosine_similarity(gradient(got).flatten(), gradient(expected[1]).flatten(), dim=0)
            assert cosine > 0.98, name


def test_statistics_move_only_when_told() -> None:
    vae, _ = twins()
    before = [buffer.clone() for buffer in vae.buffers()]
    run = BlockedPass(vae, torch.float64, Ranks(), Workers())
    run(*batch(4, 16, 5))
    assert all(torch.equal(*pair) for pair in zip(before, vae.buffers(), strict=True))
    run.update_statistics()
    assert not any(torch.equal(*pair) for pair in zip(before, vae.buffers(), strict=True))


def test_memory_is_kept_from_step_to_step() -> None:
    run = BlockedPass(twins()[0], torch.float64, Ranks(), Workers())
    kept = []
    for count in (6, 6, 3, 6):
        output = run(*batch(count, 16, 5))
        (output.mse + output.mean.sum()).backward()  # type: ignore[no-untyped-call]
        kept.append({name: buffer.data_ptr() for name, buffer in run._scope.buffers.items()})
    assert kept[0]
    assert all(addresses == kept[0] for addresses in kept)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_is_the_same_twice(precision: str) -> None:
    def trained() -> list[Tensor]:
        config = TrainConfig(batch_size=8, precision=precision)
        vae = new_vae(ModelConfig(image_size=16, channels=8, latent_dim=4), 0)
        trainer = Trainer(vae, torch.from_numpy(random_images(20, 16)), config)
        for _ in range(4):
            trainer.advance()
        return list(vae.state_dict().values())

    assert all(torch.equal(*pair) for pair in zip(trained(), trained(), strict=True))
