"""The weights of the face detector, read from the installed package `mtcnn`, which facevae's extra `align` brings.

The package's own code is not imported (it needs TensorFlow), only its three files of weights are read. They are LZ4 frames
of a pickle in which joblib left the arrays as they lie in memory. Nothing is unpickled: the SHA-256 of each file is compared,
so its content is known, and the arrays are taken from between the pickle's pieces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from facevae.errors import DataError, MissingExtraError
from facevae.model.mtcnn import FaceNetworks, ProposalNetwork, output_network, refine_network
from facevae.storage.frame_weights import load_frame_network
from facevae.storage.output import describe_os_error
from facevae.storage.shipped import shipped_frame_network

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISSING = 'Finding faces needs the extra align: pip install "facevae[align]".'
PACKAGE = "mtcnn"
SHA256 = {
    "pnet.lz4": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet.lz4": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet.lz4": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}
"""Of the files of mtcnn 1.0.0, in `mtcnn/assets/weights/`."""

_ARRAY_FOLLOWS = b"K\x10ub"
"""The end of joblib's description of an array (its alignment, 16); then a byte N, N bytes of padding, and the values."""
_FLATTENED_SIDE = 3
"""The last maps of R-Net and O-Net have 3 x 3 pixels; their first dense layer takes them flattened."""


def load_face_networks() -> FaceNetworks:
    """Return the three networks of MTCNN with the weights of the installed package, and facevae's own frame network.

    Raises:
        MissingExtraError: the extra `align` is not installed.
        DataError: its files are missing, damaged, or of another version than facevae knows; or the frame network's is.
    """
    folder = _weights_folder()
    cascade = ProposalNetwork(), refine_network(), output_network()
    for network, name in zip(cascade, SHA256, strict=True):
        _fill(network, _decompressed(folder / name))
        network.eval().requires_grad_(requires_grad=False)
    return FaceNetworks(*cascade, load_frame_network(shipped_frame_network()))


def _weights_folder() -> Path:
    """Find the package without importing it."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(MISSING)
    return Path(next(iter(spec.submodule_search_locations))) / "assets" / "weights"


def _decompressed(path: Path) -> bytes:
    try:
        import lz4.frame
    except ImportError as error:
        raise MissingExtraError(MISSING) from error
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}, which holds weights of the face detector, cannot be read ({describe_os_error(error)}): {_again()}"
        ) from error
    if hashlib.sha256(data).hexdigest() != SHA256[path.name]:
        raise DataError(
            f"{path}, which holds weights of the face detector, is damaged or not of mtcnn 1.0.0: {_again()}"
        )
    decompressed: bytes = lz4.frame.decompress(data)
    return decompressed


def _again() -> str:
    return 'pip install --force-reinstall "facevae[align]".'


def _fill(network: nn.Module, data: bytes) -> None:
    """Give `network` its weights: the file has them in the order of the layers, as Keras lays them out."""
    position = 0
    for parameter, shape in _keras_shapes(network):
        position = data.index(_ARRAY_FOLLOWS, position) + len(_ARRAY_FOLLOWS)
        position += 1 + data[position]
        values = np.frombuffer(data, "<f4", prod(shape), position).reshape(shape)
        parameter.data = torch.from_numpy(_as_torch(values))
        position += values.nbytes


def _keras_shapes(network: nn.Module) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """Yield the parameters in the order of the file, with the shapes that Keras gives them."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            yield layer.weight, (*layer.kernel_size, layer.in_channels, layer.out_channels)
        elif isinstance(layer, nn.Linear):
            yield layer.weight, (layer.in_features, layer.out_features)
        elif isinstance(layer, nn.PReLU):
            yield layer.weight, (layer.num_parameters,)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            yield layer.bias, tuple(layer.bias.shape)


def _as_torch(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an array of the file in PyTorch's layout, as a copy of its own."""
    if values.ndim == 4:
        return np.ascontiguousarray(values.transpose(3, 2, 0, 1))
    if values.ndim == 1:
        return values.copy()
    inputs, outputs = values.shape
    side = _FLATTENED_SIDE
    if inputs % side**2 == 0:
        # The maps were flattened by columns, then rows, then channels: Caffe's networks were trained on transposed images.
        by_place = values.reshape(side, side, inputs // side**2, outputs)
        values = by_place.transpose(2, 1, 0, 3).reshape(inputs, outputs)
    return np.ascontiguousarray(values.T)
