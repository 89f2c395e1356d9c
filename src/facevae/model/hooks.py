"""What each convolution gives out for a face, and the network as a list of layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from facevae.model.networks import STAGES
from facevae.model.vae import VAE


class LayerActivations(NamedTuple):
    """One convolution's output for one image: `name`, a `title` for people, and `maps` (C, H, W)."""

    name: str
    title: str
    maps: Tensor


class LayerSummary(NamedTuple):
    """One row of the network's table: `shape` is the output's without the batch, `parameters` the trainable ones."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int


def convolution_layers(vae: VAE) -> dict[str, tuple[str, nn.Module]]:
    """Return the nine convolutions in the order of the data: name -> (title, module)."""
    layers: dict[str, tuple[str, nn.Module]] = {}
    for number, block in enumerate(vae.encoder.blocks, start=1):
        layers[f"encoder-{number}"] = (f"Encoder convolution {number}", block.get_submodule("convolution"))
    for number, block in enumerate(vae.decoder.blocks, start=1):
        layers[f"decoder-{number}"] = (f"Decoder transposed convolution {number}", block.get_submodule("convolution"))
    last = STAGES + 1
    layers[f"decoder-{last}"] = (f"Decoder transposed convolution {last}", vae.decoder.output)
    return layers


@contextmanager
def _recording(modules: dict[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Record each module's output by name while the context lasts; the copy guards against in-place activations."""
    outputs: dict[str, Tensor] = {}

    def record(name: str) -> Any:  # noqa: ANN401 - the hook's type is torch's own
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                outputs[name] = output.detach().clone()

        return hook

    handles = [module.register_forward_hook(record(name)) for name, module in modules.items()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def face_activations(vae: VAE, image: Tensor) -> tuple[list[LayerActivations], Tensor]:
    """Return the output of each of the nine convolutions for `image` (3, S, S) in [0, 1], and its reconstruction (3, S, S).

    The decoder is fed the posterior mean. The outputs are those of the convolution itself, before batch normalisation.
    """
    layers = convolution_layers(vae)
    vae.eval()
    with _recording({name: module for name, (_, module) in layers.items()}) as outputs:
        mean, _ = vae.encode(image.unsqueeze(0))
        reconstruction = vae.decode(mean)
    activations = [LayerActivations(name, title, outputs[name][0]) for name, (title, _) in layers.items()]
    return activations, reconstruction[0]


@torch.no_grad()
def layer_table(vae: VAE) -> list[LayerSummary]:
    """Return every layer of the network in the order of the data, with its output shape and trainable parameters."""
    leaves = {name: module for name, module in vae.named_modules() if not list(module.children())}
    size = vae.config.image_size
    vae.eval()
    with _recording(leaves) as outputs:
        vae(torch.zeros(1, 3, size, size, device=vae.device))
    return [
        LayerSummary(
            name=name,
            kind=type(leaves[name]).__name__,
            shape=tuple(output.shape[1:]),
            parameters=sum(parameter.numel() for parameter in leaves[name].parameters()),
        )
        for name, output in outputs.items()
    ]
