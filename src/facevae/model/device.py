"""Which device to compute on."""

from __future__ import annotations

import torch

from facevae.config import DEVICES
from facevae.errors import UsageError

_REMEDY = "use --device auto to take the best there is, or --device cpu."


def resolve_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda` (or `cuda:1`, ...) or `mps`; `auto` prefers CUDA, then MPS, then the CPU.

    Raises:
        UsageError: the name is unknown, or PyTorch sees no such device on this machine.
    """
    kind, colon, index = name.partition(":")
    if kind not in DEVICES or (colon and not (kind == "cuda" and index.isascii() and index.isdecimal())):
        raise UsageError(f"There is no device {name}: use one of {', '.join(DEVICES)}.")
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if kind == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    if kind == "cuda" and not cuda:
        raise UsageError(f"PyTorch sees no CUDA GPU on this machine: {_REMEDY}")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise UsageError(f"There is no {name}: PyTorch sees {torch.cuda.device_count()} CUDA GPU(s), counted from 0.")
    if kind == "mps" and not mps:
        raise UsageError(f"PyTorch sees no Apple GPU (MPS) on this machine: {_REMEDY}")
    return torch.device(kind, int(index)) if index else torch.device(kind)
