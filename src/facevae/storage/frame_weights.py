"""`frame.safetensors`: the frame network that comes with facevae (`model/frame_network.py`), in one file.

Tensors: the network's, in float16 (its counters of batches are left out). Metadata, as JSON: `network` (its `widths`) and
`record` (how it was trained).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facevae.errors import DataError
from facevae.model.frame_network import FrameNetwork
from facevae.storage.kinds import OTHER_SAFETENSORS
from facevae.storage.output import check_output
from facevae.storage.safetensors_file import read_tensors, write_tensors

FORMAT = "facevae frame network"
REMEDY = "Use the one that comes with facevae: reinstall facevae."
_COUNTER = "num_batches_tracked"


def save_frame_network(path: str | Path, network: FrameNetwork, record: Mapping[str, Any]) -> None:
    """Write a network and the record of its training to `path` as safetensors in float16, atomically.

    Raises:
        DataError: the file cannot be written, or a weight is not finite, or too large for float16.
        UsageError: the file holds data of another kind.
    """
    path = Path(path)
    check_output(path, kind=OTHER_SAFETENSORS)
    tensors = {name: tensor.half() for name, tensor in _learned(network.state_dict()).items()}
    if not _all_finite(tensors):
        raise DataError(f"{path} cannot be written: the network has weights that float16 cannot hold. Train it anew.")
    write_tensors(path, FORMAT, tensors, {"network": {"widths": list(network.widths)}, "record": dict(record)})


def load_frame_network(path: str | Path) -> FrameNetwork:
    """Read a network from `path`, onto the processor, in float32 and in evaluation mode.

    Raises:
        DataError: the file is missing, damaged, or does not hold a frame network of facevae.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path, FORMAT, "frame network weights", REMEDY)
    try:
        first, second, third = (int(width) for width in metadata["network"]["widths"])
        widths = first, second, third
        if not _all_finite(tensors):
            raise ValueError("it holds values that are not finite")
        _check_shapes(widths, tensors)
        network = FrameNetwork(widths)
        network.load_state_dict(tensors, strict=False)  # the shapes are checked, only the counters are missing
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path} is damaged ({reason}). {REMEDY}") from error
    return network.eval().requires_grad_(requires_grad=False)


def _learned(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.endswith(_COUNTER)}


def _all_finite(tensors: Mapping[str, Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


def _check_shapes(widths: tuple[int, int, int], tensors: Mapping[str, Tensor]) -> None:
    """Raise a `ValueError` unless the tensors are those of the network, before any memory is spent on it."""
    if min(widths) < 1:
        raise ValueError("it describes a network without channels")
    with torch.device("meta"):
        expected = _learned(FrameNetwork(widths).state_dict())
    shapes = {name: (tensor.shape, torch.float16) for name, tensor in expected.items()}
    if {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()} != shapes:
        raise ValueError("its tensors are not those of the network it describes")
