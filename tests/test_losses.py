"""The loss against PyTorch's distributions, numerical integration, and NumPy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.integrate import quad
from scipy.stats import norm
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from facevae.config import ModelConfig
from facevae.model.losses import kl_divergence, mean_squared_error, pixel_weights, vae_loss
from facevae.model.training import new_vae

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pair = tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]


def posteriors(largest_mean: float, largest_log_variance: float) -> st.SearchStrategy[Pair]:
    shape = hnp.array_shapes(min_dims=1, max_dims=2, max_side=4)
    return shape.flatmap(
        lambda sides: st.tuples(
            hnp.arrays(np.float64, sides, elements=st.floats(-largest_mean, largest_mean)),
            hnp.arrays(np.float64, sides, elements=st.floats(-largest_log_variance, largest_log_variance)),
        )
    )


def assert_like_torch(mean: NDArray[np.float64], log_variance: NDArray[np.float64]) -> None:
    mu, log_var = torch.from_numpy(mean), torch.from_numpy(log_variance)
    ours = kl_divergence(mu, log_var)
    theirs = torch_kl(Normal(mu, torch.exp(log_var / 2), validate_args=False), Normal(0.0, 1.0, validate_args=False))
    assert ours.shape == mu.shape
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@given(posteriors(10, 10))
def test_kl_is_that_of_torch_distributions(pair: Pair) -> None:
    assert_like_torch(*pair)


@given(posteriors(1e100, 600))
def test_kl_is_that_of_torch_distributions_at_extremes(pair: Pair) -> None:
    assert_like_torch(*pair)


@pytest.mark.parametrize(
    ("mean", "log_variance"), [(-0.5, 0.3), (2.0, -3.0), (0.0, 1.5), (1.0, 0.0), (-1.5, -0.7), (0.0, 0.0)]
)
def test_kl_is_the_integral_that_defines_it(mean: float, log_variance: float) -> None:
    posterior = norm(mean, math.exp(log_variance / 2))

    def integrand(z: float) -> float:
        return float(posterior.pdf(z) * (posterior.logpdf(z) - norm.logpdf(z)))

    reach = 12 * math.exp(log_variance / 2)
    integral, _ = quad(integrand, mean - reach, mean + reach, points=[mean], epsabs=1e-10)
    value = kl_divergence(torch.tensor(mean, dtype=torch.float64), torch.tensor(log_variance, dtype=torch.float64))
    assert float(value) == pytest.approx(integral, abs=1e-7)


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_kl_is_zero_for_the_standard_normal_alone(mean: float, log_variance: float) -> None:
    zero = torch.zeros(3)
    assert torch.equal(kl_divergence(zero, zero), zero)
    assume(max(abs(mean), abs(log_variance)) > 1e-5)
    value = kl_divergence(torch.tensor(mean, dtype=torch.float64), torch.tensor(log_variance, dtype=torch.float64))
    assert float(value) > 0


def random_batch(seed: int) -> dict[str, torch.Tensor]:
    random = np.random.default_rng(seed)
    size, latent_dim = int(random.integers(1, 6)), int(random.integers(1, 5))
    arrays = {
        "images": random.random((size, 3, 16, 16)),
        "reconstruction": random.random((size, 3, 16, 16)),
        "mean": random.normal(0, 2, (size, latent_dim)),
        "log_variance": random.normal(0, 2, (size, latent_dim)),
    }
    return {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}


@given(st.integers(0, 10**6), st.floats(0.1, 1e5), st.floats(0, 100))
def test_loss_is_weighted_error_plus_weighted_kl(seed: int, weight: float, kl_weight: float) -> None:
    batch = random_batch(seed)
    parts = vae_loss(**batch, reconstruction_weight=weight, kl_weight=kl_weight)
    images, reconstruction, mean, log_variance = (tensor.double().numpy() for tensor in batch.values())
    mse, kl = 0.0, 0.0
    for number in range(len(images)):
        mse += ((images[number] - reconstruction[number]) ** 2).sum() / (3 * 16 * 16) / len(images)
        for mu, log_var in zip(mean[number], log_variance[number], strict=True):
            kl += (mu**2 + math.exp(log_var) - log_var - 1) / 2 / len(images)
    assert [float(part) for part in parts] == pytest.approx(
        [weight * mse + kl_weight * kl, weight * mse, kl, mse], rel=1e-5
    )


def test_loss_without_kl_weight_is_the_reconstruction_alone() -> None:
    parts = vae_loss(**random_batch(3), reconstruction_weight=7.0, kl_weight=0.0)
    assert torch.equal(parts.total, parts.reconstruction)
    assert float(parts.kl) > 0


@given(st.integers(0, 10**6), st.floats(0.1, 10))
def test_gradients_are_those_of_the_formula(seed: int, kl_weight: float) -> None:
    batch = {name: tensor.double().requires_grad_(name != "images") for name, tensor in random_batch(seed).items()}
    vae_loss(**batch, reconstruction_weight=3.0, kl_weight=kl_weight).total.backward()  # type: ignore[no-untyped-call]
    mean, log_variance, size = batch["mean"], batch["log_variance"], len(batch["mean"])
    torch.testing.assert_close(mean.grad, kl_weight * mean.detach() / size)
    torch.testing.assert_close(log_variance.grad, kl_weight * (log_variance.detach().exp() - 1) / (2 * size))
    error = batch["reconstruction"].detach() - batch["images"]
    torch.testing.assert_close(batch["reconstruction"].grad, 3.0 * 2 * error / error.numel())


@pytest.mark.parametrize("fill", [0.0, 0.5, 1.0])
def test_gradients_of_the_network_are_finite(fill: float) -> None:
    vae = new_vae(ModelConfig(image_size=16, channels=4, latent_dim=3), seed=1)
    images = torch.full((4, 3, 16, 16), fill)
    parts = vae_loss(images, *vae(images, torch.randn(4, 3)), reconstruction_weight=2000.0, kl_weight=1.0)
    parts.total.backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in vae.parameters()]
    assert all(gradient is not None and bool(torch.isfinite(gradient).all()) for gradient in gradients)
    assert any(gradient is not None and bool(gradient.any()) for gradient in gradients)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_a_focus_weighs_the_face_more_and_all_pixels_one_on_average(size: int) -> None:
    weights = pixel_weights(size, 6.0)
    assert weights is not None
    assert weights.shape == (size, size)
    assert float(weights.mean()) == pytest.approx(1.0, rel=1e-6)
    row, column = divmod(int(weights.argmax()), size)
    # CelebA's eyes lie at (69, 111) and (108, 111) of 178 x 218, its mouths at a height of about 150.
    assert (column + 0.5) / size == pytest.approx((69 + 108) / 2 / 178, abs=1 / size)
    assert 111 / 218 < (row + 0.5) / size < 150 / 218
    # 1 + 6 exp(-d^2 / 2), at the middle and in a corner
    assert float(weights.max() / weights[0, 0]) == pytest.approx(7.0 / (1.0 + 6.0 * math.exp(-9.5)), rel=0.05)
    assert pixel_weights(size, 0.0) is None


def test_the_weighted_error_is_a_weighted_mean() -> None:
    images, others = torch.rand(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    weights = pixel_weights(16, 6.0)
    assert weights is not None
    squares = (images - others).numpy() ** 2
    expected = np.average(squares.mean(axis=(0, 1)), weights=weights.numpy())
    assert float(mean_squared_error(images, others, weights)) == pytest.approx(float(expected), rel=1e-5)
    assert torch.equal(mean_squared_error(images, others), torch.nn.functional.mse_loss(others, images))
