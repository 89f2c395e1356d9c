"""`upscaler.safetensors`: a trained VDSR in one file.

Tensors: the network's, under `vdsr.`, in float32 or float16. Metadata, as JSON: `network` (its `depth` and `channels`), and
`training` (how it was trained: on which inputs and faces, the gain over bicubic, versions).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facevae.config import UPSCALE_FACTOR, UPSCALE_FACTORS, UPSCALER_INPUTS, UpscalerConfig
from facevae.errors import DataError, UsageError
from facevae.model.device import resolve_device
from facevae.model.precision import resolve_precision
from facevae.model.upscaling import upscale_images
from facevae.model.vdsr import VDSR, tensor_shapes
from facevae.storage.kinds import UPSCALER
from facevae.storage.output import check_output
from facevae.storage.safetensors_file import read_tensors, write_tensors

FORMAT = "facevae upscaler"
REMEDY = "Train one with: facevae train-upscaler (or take a shipped one: --upscaler photographs)"
_PREFIX = "vdsr."


@dataclass(frozen=True)
class Upscaler:
    """A trained upscaler.

    Attributes:
        network: on the device it was loaded to.
        training: how it was trained.
        name: what to call it in messages, usually the file name.
    """

    network: VDSR
    training: Mapping[str, Any] = field(default_factory=dict)
    name: str = "the upscaler"

    @property
    def inputs(self) -> str:
        """What it learned to enlarge: "photographs" or "reconstructions"; "unknown" where its record does not say."""
        return str(self.training.get("inputs", "unknown"))

    def upscale(
        self,
        images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
        factor: int = UPSCALE_FACTOR,
        *,
        precision: str = "auto",
        told: Callable[[int], None] = lambda _: None,
    ) -> list[NDArray[np.uint8]]:
        """Return pictures (H, W, 3) uint8, RGB and of any sizes, enlarged to (factor H, factor W, 3).

        Args:
            images: the pictures, a list or an array (N, H, W, 3).
            factor: 2, 3 or 4.
            precision: of the convolutions: fp32, bf16, or auto for bf16 where the device has it.
            told: is called with the number of tiles done, after each (see `facevae.model.upscaling.count_tiles`).

        Raises:
            UsageError: there is no such factor or precision, or an image is of another shape or type.
        """
        check_factor(factor)
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
                raise UsageError(
                    f"{self.name} takes images of shape (H, W, 3) and type uint8, not {image.shape} {image.dtype}."
                )
        device = next(self.network.parameters()).device
        return upscale_images(self.network, list(images), factor, resolve_precision(precision, device).dtype, told)

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Write the upscaler to `path` as safetensors, atomically; with `half` in half the bytes.

        Raises:
            DataError: the file cannot be written, or a weight is not finite, or too large for half precision.
            UsageError: the file holds data of another kind.
        """
        path = Path(path)
        check_output(path, kind=UPSCALER)
        state = self.network.state_dict()
        tensors = {_PREFIX + name: tensor.half() if half else tensor for name, tensor in state.items()}
        if not _all_finite(tensors):
            raise DataError(
                f"{path} cannot be written: the network has weights that are not finite, or too large for half precision."
            )
        write_tensors(
            path, FORMAT, tensors, {"network": self.network.config.to_dict(), "training": dict(self.training)}
        )

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu", *, name: str | None = None) -> Upscaler:
        """Read an upscaler from `path`, in float32; `name` is what to call it instead of the file.

        Raises:
            DataError: the file is missing, damaged, or no upscaler of facevae.
            UsageError: there is no such device.
        """
        place = resolve_device(device) if isinstance(device, str) else device
        path = Path(path)
        tensors, metadata = read_tensors(path, FORMAT, "upscaler weights", REMEDY, near=UPSCALER_INPUTS)
        try:
            config = UpscalerConfig(**metadata["network"])
            state = {name.removeprefix(_PREFIX): tensor.float() for name, tensor in tensors.items()}
            if {name: tensor.shape for name, tensor in state.items()} != tensor_shapes(config):
                raise ValueError("its tensors are not those of the network it describes")
            if not _all_finite(state):
                raise ValueError("it holds values that are not finite")
            network = VDSR(config)
            network.load_state_dict(state)
            training = dict(metadata.get("training", {}))
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, UsageError) as error:
            reason = " ".join(str(error).split())[:120]
            raise DataError(f"{path} is damaged ({reason}). {REMEDY}") from error
        return cls(network.to(place).eval(), training, name or str(path))


def _all_finite(tensors: Mapping[str, torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


def check_factor(factor: int) -> None:
    """Raise a `UsageError` unless it is a factor that the upscaler enlarges by."""
    if factor not in UPSCALE_FACTORS:
        known = ", ".join(str(one) for one in UPSCALE_FACTORS)
        raise UsageError(f"Pictures cannot be upscaled {factor} times: use one of {known}.")
