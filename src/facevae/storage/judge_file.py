"""`judge.safetensors`: the classifier that judges edits and samples, in one file.

Tensors: the network's, in float16 (its counters of batches are left out). Metadata, as JSON: `network` (its `widths`),
`attribute_names`, and `record` (how it was trained, on which faces, and how often it is right on valid).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facevae.errors import DataError, UsageError
from facevae.model.judge import JUDGE_SIZE, Judge, JudgeView, judge_images
from facevae.storage.kinds import JUDGE
from facevae.storage.output import check_output
from facevae.storage.safetensors_file import read_tensors, write_tensors

FORMAT = "facevae judge"
REMEDY = "Use the judge that comes with facevae, or train one with facevae.workflows.train_judge.train_judge."
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class AttributeJudge:
    """A trained judge.

    Attributes:
        network: on the CPU, in evaluation mode.
        attribute_names: A names, in the order of the logits.
        record: how it was trained (configuration, seed, data fingerprint, accuracies on valid, versions).
        name: what to call it in messages, usually the file name.
    """

    network: Judge
    attribute_names: tuple[str, ...]
    record: Mapping[str, Any] = field(default_factory=dict)
    name: str = "the judge"

    def look(self, images: NDArray[np.uint8]) -> JudgeView:
        """Return features (N, F) and logits (N, A) of images (N, S, S, 3) uint8; larger ones than 32x32 are averaged down.

        Raises:
            UsageError: the images are of another shape or type, or S is not a power of two of at least 32.
        """
        side = images.shape[1] if images.ndim == 4 else 0
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[2:] != (side, 3):
            raise UsageError(
                f"{self.name} takes images of shape (N, S, S, 3) and type uint8, not {images.shape} {images.dtype}."
            )
        if side < JUDGE_SIZE or side & (side - 1):
            raise UsageError(
                f"{self.name} takes images of {JUDGE_SIZE} x {JUDGE_SIZE} pixels, or of a larger power of two to average "
                f"down, not {side} x {side}: prepare faces of such a size."
            )
        return judge_images(self.network, images)

    def save(self, path: str | Path) -> None:
        """Write the judge to `path` as safetensors in float16, atomically.

        Raises:
            DataError: the file cannot be written, or a weight is too large for float16.
            UsageError: the file holds data of another kind.
        """
        path = Path(path)
        check_output(path, kind=JUDGE)
        tensors = {name: tensor.half() for name, tensor in _learned(self.network.state_dict()).items()}
        if not _all_finite(tensors):
            raise DataError(
                f"{path} cannot be written: the network has weights that float16 cannot hold. Train it anew."
            )
        metadata = {
            "network": {"widths": list(self.network.widths)},
            "attribute_names": list(self.attribute_names),
            "record": dict(self.record),
        }
        write_tensors(path, FORMAT, tensors, metadata)

    @classmethod
    def load(cls, path: str | Path) -> AttributeJudge:
        """Read a judge from `path`, onto the CPU and in float32.

        Raises:
            DataError: the file is missing, damaged, or does not hold a judge of facevae.
        """
        path = Path(path)
        tensors, metadata = read_tensors(path, FORMAT, "judge weights", REMEDY)
        try:
            names = tuple(str(name) for name in metadata["attribute_names"])
            stem, first, second, features = (int(width) for width in metadata["network"]["widths"])
            widths = stem, first, second, features
            if not _all_finite(tensors):
                raise ValueError("it holds values that are not finite")
            _check_shapes(len(names), widths, tensors)
            network = Judge(len(names), widths)
            network.load_state_dict(tensors, strict=False)  # the shapes are checked, only the counters are missing
            record = dict(metadata.get("record", {}))
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:120]
            raise DataError(f"{path} is damaged ({reason}). {REMEDY}") from error
        return cls(network.eval(), names, record, str(path))


def _learned(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.endswith(_COUNTER)}


def _all_finite(tensors: Mapping[str, Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


def _check_shapes(attributes: int, widths: tuple[int, int, int, int], tensors: Mapping[str, Tensor]) -> None:
    """Raise a `ValueError` unless the tensors are those of the network, before any memory is spent on it."""
    if min(attributes, *widths) < 1:
        raise ValueError("it describes a network without attributes or channels")
    with torch.device("meta"):
        expected = _learned(Judge(attributes, widths).state_dict())
    shapes = {name: (tensor.shape, torch.float16) for name, tensor in expected.items()}
    if {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()} != shapes:
        raise ValueError("its tensors are not those of the network it describes")
