"""Which floating-point format the convolutions compute in: float32, or bfloat16 where the hardware multiplies it natively.

In bfloat16 (8 bits of mantissa, the range of float32) half the memory moves and twice the products are done at a time. Weights,
their moments, statistics, latents and losses stay in float32 (Micikevicius et al. 2018, *Mixed Precision Training*).
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from facevae.config import PRECISIONS
from facevae.errors import UsageError

_CPU_FEATURES = ("amx_bf16", "avx512_bf16")
"""Instructions that multiply bfloat16, by the names that PyTorch gives them; the best first."""


class Precision(NamedTuple):
    """`name` is fp32 or bf16, `reason` says in a few words why."""

    name: str
    dtype: torch.dtype
    reason: str


def resolve_precision(name: str, device: torch.device) -> Precision:
    """Return the precision for `auto`, `fp32` or `bf16` on a device; `auto` takes bf16 where it is native.

    Raises:
        UsageError: the name is unknown.
    """
    if name not in PRECISIONS:
        raise UsageError(f"There is no precision {name}: use one of {', '.join(PRECISIONS)}.")
    if name == "auto":
        reason = native_bfloat16(device)
        if reason is None:
            return Precision("fp32", torch.float32, "bfloat16 is not native here")
        return Precision("bf16", torch.bfloat16, f"bfloat16 is native here: {reason}")
    return Precision(name, torch.bfloat16 if name == "bf16" else torch.float32, "asked for")


def native_bfloat16(device: torch.device) -> str | None:
    """Return what makes bfloat16 native on the device, or None where it is not (or nobody has measured it: Apple's GPUs)."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return f"compute capability {major}.{minor}" if major >= 8 else None
    if device.type == "cpu":
        features = _cpu_features()
        return next((feature for feature in _CPU_FEATURES if feature in features), None)
    return None


def _cpu_features() -> set[str]:
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # since PyTorch 2.10
    if capabilities is not None:
        return {name for name, present in capabilities().items() if present is True}
    has_bfloat16 = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # before, with the tile unit unasked
    return {"avx512_bf16"} if has_bfloat16 is not None and has_bfloat16() else set()
