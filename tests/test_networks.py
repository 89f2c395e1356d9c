"""The network against its closed form: parameters, shapes, and a forward pass written out in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from facevae.config import ModelConfig
from facevae.errors import UsageError
from facevae.model import hooks
from facevae.model.device import resolve_device
from facevae.model.hooks import convolution_layers, face_activations, layer_table
from facevae.model.inference import decode_latents, encode_images, to_images, to_tensor
from facevae.model.training import new_vae
from facevae.model.vae import VAE
from support import random_images, randomised

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Row = tuple[str, tuple[int, ...], int]
TINY = ModelConfig(image_size=16, channels=4, latent_dim=5)


def reference_table(size: int, channels: int, latent_dim: int) -> list[Row]:
    """Every layer's kind, output shape and trainable parameters, from the description of the network."""
    rows: list[Row] = []

    def convolution(kind: str, into: int, outof: int, side: int) -> None:
        rows.append((kind, (outof, side, side), 3 * 3 * into * outof + outof))

    def norm_and_activation(kind: str, shape: tuple[int, ...]) -> None:
        rows.extend([(kind, shape, 2 * shape[0]), ("LeakyReLU", shape, 0)])

    side, width = size, 3
    for _ in range(4):
        side //= 2
        convolution("Conv2d", width, channels, side)
        norm_and_activation("BatchNorm2d", (channels, side, side))
        width = channels
    features = channels * side * side
    rows.extend([("Linear", (latent_dim,), features * latent_dim + latent_dim)] * 2)
    rows.append(("Linear", (features,), latent_dim * features + features))
    norm_and_activation("BatchNorm1d", (features,))
    for _ in range(4):
        side *= 2
        convolution("ConvTranspose2d", channels, channels, side)
        norm_and_activation("BatchNorm2d", (channels, side, side))
    convolution("ConvTranspose2d", channels, 3, side)
    return rows


@pytest.fixture(scope="module")
def reference() -> VAE:
    return new_vae(ModelConfig(), seed=0)


def test_reference_has_the_parameters_of_the_closed_form(reference: VAE) -> None:
    def convolution(into: int, outof: int) -> int:
        return 9 * into * outof + outof

    encoder = convolution(3, 128) + 3 * convolution(128, 128) + 4 * 2 * 128
    heads = 2 * (512 * 200 + 200)
    decoder = 200 * 512 + 512 + 2 * 512 + 4 * convolution(128, 128) + 4 * 2 * 128 + convolution(128, 3)
    counted = sum(parameter.numel() for parameter in reference.parameters() if parameter.requires_grad)
    assert counted == encoder + heads + decoder == 1_351_315


def test_reference_has_the_outputs_of_the_reference(reference: VAE) -> None:
    table = [(row.kind, row.shape, row.parameters) for row in layer_table(reference)]
    assert table == reference_table(32, 128, 200)
    convolutions = [shape for kind, shape, _ in table if "Conv" in kind]
    assert convolutions == [(128, side, side) for side in (16, 8, 4, 2, 4, 8, 16, 32)] + [(3, 32, 32)]
    assert [shape for kind, shape, _ in table if kind == "Linear"] == [(200,), (200,), (512,)]


@pytest.mark.parametrize(("size", "channels", "latent_dim"), [(64, 128, 200), (16, 4, 5), (64, 6, 3), (128, 2, 1)])
def test_other_configurations_follow_the_same_table(size: int, channels: int, latent_dim: int) -> None:
    vae = VAE(ModelConfig(image_size=size, channels=channels, latent_dim=latent_dim))
    rows = layer_table(vae)
    assert [(row.kind, row.shape, row.parameters) for row in rows] == reference_table(size, channels, latent_dim)
    assert sum(row.parameters for row in rows) == sum(parameter.numel() for parameter in vae.parameters())
    modules = dict(vae.named_modules())
    assert all(type(modules[row.name]).__name__ == row.kind for row in rows)


def test_layer_table_leaves_no_hook_and_no_trace_in_the_statistics() -> None:
    vae = randomised(TINY)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    layer_table(vae)
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert not any(module._forward_hooks for module in vae.modules())


def test_activations_and_norms_are_keras_not_pytorchs(reference: VAE) -> None:
    slopes = {module.negative_slope for module in reference.modules() if isinstance(module, nn.LeakyReLU)}
    epsilons = {m.eps for m in reference.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)}
    assert slopes == {0.3}
    assert epsilons == {1e-3}
    other = VAE(ModelConfig(image_size=16, channels=2, latent_dim=2, negative_slope=0.1, norm_epsilon=0.5))
    assert {module.negative_slope for module in other.modules() if isinstance(module, nn.LeakyReLU)} == {0.1}
    assert {m.eps for m in other.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)} == {0.5}


def test_convolutions_have_the_reference_geometry(reference: VAE) -> None:
    layers = [module for _, module in convolution_layers(reference).values()]
    geometry = [
        (type(m).__name__, m.kernel_size, m.stride, m.padding, m.output_padding)
        for m in layers
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    ]
    assert geometry == (
        [("Conv2d", (3, 3), (2, 2), (1, 1), (0, 0))] * 4
        + [("ConvTranspose2d", (3, 3), (2, 2), (1, 1), (1, 1))] * 4
        + [("ConvTranspose2d", (3, 3), (1, 1), (1, 1), (0, 0))]
    )


def test_weights_are_kept_channels_last(reference: VAE) -> None:
    kernels = [parameter for parameter in reference.parameters() if parameter.dim() == 4]
    assert len(kernels) == 9
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    # A kernel of one channel is contiguous both ways; those of 128 are not.
    assert not kernels[1].is_contiguous()


class NumpyVAE:
    """The network's evaluation pass in double precision loops; `maps` collects the convolutions' outputs."""

    def __init__(self, vae: VAE) -> None:
        self.state = {name: value.double().numpy() for name, value in vae.state_dict().items()}
        self.config = vae.config
        self.maps: list[Array] = []

    def convolve(self, name: str, data: Array) -> Array:
        """3x3, stride 2, one pixel of zeros around."""
        kernel, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        side = data.shape[1]
        padded = np.pad(data, ((0, 0), (1, 1), (1, 1)))
        output = np.empty((len(kernel), side // 2, side // 2))
        for row in range(side // 2):
            for column in range(side // 2):
                window = padded[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
                output[:, row, column] = (kernel * window).sum(axis=(1, 2, 3)) + bias
        self.maps.append(output)
        return output

    def convolve_transposed(self, name: str, data: Array, stride: int) -> Array:
        """Every input pixel paints the 3x3 kernel around its place in an image `stride` times as large."""
        kernel, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        side = data.shape[1]
        canvas = np.zeros((kernel.shape[1], side * stride + 2, side * stride + 2))
        for row in range(side):
            for column in range(side):
                stamp = np.tensordot(data[:, row, column], kernel, axes=1)
                canvas[:, stride * row : stride * row + 3, stride * column : stride * column + 3] += stamp
        output: Array = canvas[:, 1:-1, 1:-1] + bias[:, None, None]
        self.maps.append(output)
        return output

    def linear(self, name: str, data: Array) -> Array:
        result: Array = self.state[f"{name}.weight"] @ data + self.state[f"{name}.bias"]
        return result

    def norm_and_activation(self, name: str, data: Array) -> Array:
        sides = (slice(None),) + (None,) * (data.ndim - 1)
        weight, bias, mean, variance = (
            self.state[f"{name}.norm.{part}"][sides] for part in ("weight", "bias", "running_mean", "running_var")
        )
        normal = (data - mean) / np.sqrt(variance + self.config.norm_epsilon) * weight + bias
        result: Array = np.where(normal > 0, normal, self.config.negative_slope * normal)
        return result

    def encode(self, image: Array) -> tuple[Array, Array]:
        data = image
        for number in range(4):
            name = f"encoder.blocks.{number}"
            data = self.norm_and_activation(name, self.convolve(f"{name}.convolution", data))
        return self.linear("encoder.mean", data.ravel()), self.linear("encoder.log_variance", data.ravel())

    def decode(self, latent: Array) -> Array:
        data = self.norm_and_activation("decoder.input", self.linear("decoder.input.linear", latent))
        side = self.config.image_size // 16
        data = data.reshape(self.config.channels, side, side)
        for number in range(4):
            name = f"decoder.blocks.{number}"
            data = self.norm_and_activation(name, self.convolve_transposed(f"{name}.convolution", data, 2))
        result: Array = 1 / (1 + np.exp(-self.convolve_transposed("decoder.output", data, 1)))
        return result


@pytest.mark.parametrize("config", [TINY, ModelConfig(image_size=32, channels=3, latent_dim=4)])
def test_forward_pass_is_the_one_written_out(config: ModelConfig) -> None:
    vae = randomised(config)
    manual = NumpyVAE(vae)
    image = torch.rand(3, config.image_size, config.image_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mean, log_variance = vae.encode(image[None])
        decoded = vae.decode(mean)
    expected_mean, expected_log_variance = manual.encode(image.double().numpy())
    np.testing.assert_allclose(mean[0], expected_mean, atol=1e-5)
    np.testing.assert_allclose(log_variance[0], expected_log_variance, atol=1e-5)
    np.testing.assert_allclose(decoded[0], manual.decode(expected_mean), atol=1e-5)


def test_face_activations_are_the_nine_convolutions_own_outputs() -> None:
    vae = randomised(TINY)
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(2))
    activations, reconstruction = face_activations(vae, image)
    manual = NumpyVAE(vae)
    expected = manual.decode(manual.encode(image.double().numpy())[0])
    assert len(activations) == len(manual.maps) == 9
    for layer, maps in zip(activations, manual.maps, strict=True):
        np.testing.assert_allclose(layer.maps, maps, atol=1e-5, err_msg=layer.name)
        # Of a rectified map at most the largest values would agree: the leaky slope shrinks the rest.
        assert (maps < 0).any()
    np.testing.assert_allclose(reconstruction, expected, atol=1e-5)


def test_face_activations_of_the_reference(reference: VAE) -> None:
    activations, reconstruction = face_activations(reference, torch.rand(3, 32, 32))
    assert [(layer.name, layer.title, tuple(layer.maps.shape)) for layer in activations] == [
        ("encoder-1", "Encoder convolution 1", (128, 16, 16)),
        ("encoder-2", "Encoder convolution 2", (128, 8, 8)),
        ("encoder-3", "Encoder convolution 3", (128, 4, 4)),
        ("encoder-4", "Encoder convolution 4", (128, 2, 2)),
        ("decoder-1", "Decoder transposed convolution 1", (128, 4, 4)),
        ("decoder-2", "Decoder transposed convolution 2", (128, 8, 8)),
        ("decoder-3", "Decoder transposed convolution 3", (128, 16, 16)),
        ("decoder-4", "Decoder transposed convolution 4", (128, 32, 32)),
        ("decoder-5", "Decoder transposed convolution 5", (3, 32, 32)),
    ]
    assert tuple(reconstruction.shape) == (3, 32, 32)
    assert torch.equal(reconstruction, activations[-1].maps.sigmoid())


def test_recorded_outputs_are_not_overwritten_by_the_activation_in_place() -> None:
    vae = randomised(TINY)
    modules: dict[str, nn.Module] = {
        part: vae.encoder.get_submodule(f"blocks.0.{part}") for part in ("norm", "activation")
    }
    with hooks._recording(modules) as outputs, torch.no_grad():
        vae.encode(torch.rand(2, 3, 16, 16))
    assert (outputs["norm"] < 0).any()
    torch.testing.assert_close(outputs["activation"], nn.functional.leaky_relu(outputs["norm"], 0.3))


def test_hooks_are_removed_also_after_an_error() -> None:
    vae = VAE(TINY)
    face_activations(vae, torch.rand(3, 16, 16))
    assert not any(module._forward_hooks for module in vae.modules())
    with pytest.raises(RuntimeError):
        face_activations(vae, torch.rand(3, 64, 64))
    assert not any(module._forward_hooks for module in vae.modules())


def test_images_come_out_between_zero_and_one(reference: VAE) -> None:
    reference.eval()
    latents = 3 * torch.randn(4, 200, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        images = reference.decode(latents)
    assert tuple(images.shape) == (4, 3, 32, 32)
    assert float(images.min()) > 0
    assert float(images.max()) < 1


def test_pass_decodes_the_mean_plus_scaled_noise() -> None:
    vae = randomised(TINY)
    images, noise = torch.rand(3, 3, 16, 16), torch.randn(3, 5)
    with torch.no_grad():
        output = vae(images, noise)
        standard_deviation = output.log_variance.exp().sqrt()
        expected = vae.decode(output.mean + standard_deviation * noise)
        at_the_mean = vae(images, torch.zeros(3, 5))
        assert torch.equal(at_the_mean.reconstruction, vae.decode(output.mean))
    torch.testing.assert_close(output.reconstruction, expected)
    assert not torch.equal(output.reconstruction, at_the_mean.reconstruction)


def test_noise_left_out_is_drawn_from_the_global_generator() -> None:
    vae = randomised(TINY)
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        noise = torch.randn(2, 5)
        torch.manual_seed(5)
        assert torch.equal(vae(images).reconstruction, vae(images, noise).reconstruction)


def test_arrays_and_tensors_are_the_same_pictures() -> None:
    images = random_images(3, 16)
    tensor = to_tensor(images, torch.device("cpu"))
    assert tuple(tensor.shape) == (3, 3, 16, 16)
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    for number in range(3):
        np.testing.assert_array_equal(tensor[number].numpy(), np.moveaxis(images[number], -1, 0) / np.float32(255))
    np.testing.assert_array_equal(to_images(tensor), images)


def test_every_grey_survives_the_way_through_a_tensor() -> None:
    images = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    np.testing.assert_array_equal(to_images(to_tensor(images, torch.device("cpu"))), images)


def test_images_are_rounded_to_the_nearest_and_clipped() -> None:
    values = torch.tensor([-0.1, 0.4 / 255, 0.6 / 255, 254.4 / 255, 254.6 / 255, 1.2])
    images = to_images(values[:, None, None, None].expand(6, 3, 1, 1))
    assert images[:, 0, 0, 0].tolist() == [0, 0, 1, 254, 255, 255]


def test_encoding_does_not_depend_on_the_batch_or_the_mode() -> None:
    vae = randomised(TINY)
    images = random_images(9, 16)
    vae.train()
    mean, log_variance = encode_images(vae, images)
    assert mean.dtype == log_variance.dtype == np.float32
    for number in range(9):
        alone = encode_images(vae, images[number : number + 1])
        np.testing.assert_allclose(alone[0][0], mean[number], atol=1e-5)
        np.testing.assert_allclose(alone[1][0], log_variance[number], atol=1e-5)
    vae.train()
    decoded = decode_latents(vae, mean)
    assert decoded.dtype == np.uint8
    assert decoded.shape == (9, 16, 16, 3)
    with torch.no_grad():
        expected = vae.eval().decode(torch.from_numpy(mean)).double().numpy() * 255
    np.testing.assert_allclose(decoded, np.moveaxis(expected, 1, -1), atol=0.5001)


def test_strided_images_are_encoded_like_their_copies() -> None:
    vae = randomised(TINY)
    flipped = random_images(2, 16)[:, :, ::-1]
    np.testing.assert_array_equal(encode_images(vae, flipped)[0], encode_images(vae, flipped.copy())[0])


def set_hardware(monkeypatch: pytest.MonkeyPatch, *, cuda: int, mps: bool) -> None:
    replacements: dict[Any, Callable[[], Any]] = {
        (torch.cuda, "is_available"): lambda: cuda > 0,
        (torch.cuda, "device_count"): lambda: cuda,
        (torch.backends.mps, "is_available"): lambda: mps,
    }
    for (owner, name), function in replacements.items():
        monkeypatch.setattr(owner, name, function)


@pytest.mark.parametrize(
    ("name", "cuda", "mps", "expected"),
    [
        ("auto", 0, False, "cpu"),
        ("auto", 0, True, "mps"),
        ("auto", 2, True, "cuda"),
        ("cpu", 2, True, "cpu"),
        ("cuda", 1, False, "cuda"),
        ("cuda:1", 2, False, "cuda:1"),
        ("mps", 0, True, "mps"),
    ],
)
def test_device_is_the_one_asked_for(
    monkeypatch: pytest.MonkeyPatch, name: str, cuda: int, mps: bool, expected: str
) -> None:
    set_hardware(monkeypatch, cuda=cuda, mps=mps)
    assert resolve_device(name) == torch.device(expected)


@pytest.mark.parametrize(
    ("name", "cuda", "message"),
    [
        ("gpu", 0, "There is no device gpu: use one of auto, cpu, cuda, mps."),
        ("cpu:0", 0, "There is no device cpu:0: use one of auto, cpu, cuda, mps."),
        ("cuda:x", 1, "There is no device cuda:x: use one of auto, cpu, cuda, mps."),
        ("", 0, "There is no device : use one of auto, cpu, cuda, mps."),
        (
            "cuda",
            0,
            "PyTorch sees no CUDA GPU on this machine: use --device auto to take the best there is, or --device cpu.",
        ),
        ("cuda:2", 2, "There is no cuda:2: PyTorch sees 2 CUDA GPU(s), counted from 0."),
        (
            "mps",
            0,
            "PyTorch sees no Apple GPU (MPS) on this machine: "
            "use --device auto to take the best there is, or --device cpu.",
        ),
    ],
)
def test_devices_that_are_not_there_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, cuda: int, message: str
) -> None:
    set_hardware(monkeypatch, cuda=cuda, mps=False)
    with pytest.raises(UsageError) as error:
        resolve_device(name)
    assert str(error.value) == message


def test_initial_weights_are_glorots() -> None:
    for module in new_vae(ModelConfig(), seed=0).modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            continue
        # fan in and fan out of a unit, written out: Glorot & Bengio (2010), equation 16.
        taps = module.weight[0, 0].numel()
        bound = (6 / ((module.weight.shape[0] + module.weight.shape[1]) * taps)) ** 0.5
        assert 0.98 * bound < module.weight.abs().max().item() <= bound
        assert abs(module.weight.std().item() / (bound / 3**0.5) - 1) < 0.05
        assert module.bias is not None
        assert torch.count_nonzero(module.bias) == 0


@pytest.mark.parametrize("name", ["cpu:", "cuda:", "cuda:x", "cpu:0", "cuda:\u00b2"])
def test_device_names_that_are_none(name: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve_device(name)
    assert str(error.value) == f"There is no device {name}: use one of auto, cpu, cuda, mps."
