"""Which precision is native where, on machines that are made up."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from facevae.errors import UsageError
from facevae.model.precision import Precision, native_bfloat16, resolve_precision

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


def has(monkeypatch: pytest.MonkeyPatch, **capabilities: Any) -> None:
    """Give the processor capabilities as PyTorch tells them, some of which are no flags."""
    told = {"avx2": True, "cpu_name": "made up", "l2_cache_size": 1048576, **capabilities}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)


@pytest.mark.parametrize(
    ("capabilities", "reason"),
    [
        ({"avx512_bf16": True, "amx_bf16": True}, "amx_bf16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "amx_bf16"),
        ({"avx512_bf16": True, "amx_bf16": False}, "avx512_bf16"),
        ({"avx512_bf16": False, "amx_bf16": False, "amx_int8": True, "avx512_f": True}, None),
        ({}, None),
    ],
)
def test_processors(capabilities: dict[str, bool], reason: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, **capabilities)
    assert native_bfloat16(CPU) == reason
    assert resolve_precision("auto", CPU) == (
        Precision("bf16", torch.bfloat16, f"bfloat16 is native here: {reason}")
        if reason
        else Precision("fp32", torch.float32, "bfloat16 is not native here")
    )


@pytest.mark.parametrize(("supported", "reason"), [(True, "avx512_bf16"), (False, None)])
def test_processors_as_an_older_pytorch_tells_them(
    supported: bool, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported, raising=False)
    assert native_bfloat16(CPU) == reason


def test_a_pytorch_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert resolve_precision("auto", CPU) == Precision("fp32", torch.float32, "bfloat16 is not native here")


@pytest.mark.parametrize(
    ("capability", "reason"),
    [((7, 5), None), ((8, 0), "compute capability 8.0"), ((9, 0), "compute capability 9.0")],
)
def test_gpus(capability: tuple[int, int], reason: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert native_bfloat16(CUDA) == reason
    assert resolve_precision("auto", CUDA).name == ("bf16" if reason else "fp32")


def test_apples_gpus_and_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, avx512_bf16=True)
    assert native_bfloat16(MPS) is None
    assert resolve_precision("auto", MPS).name == "fp32"
    assert resolve_precision("fp32", CPU) == Precision("fp32", torch.float32, "asked for")
    has(monkeypatch)
    assert resolve_precision("bf16", CPU) == Precision("bf16", torch.bfloat16, "asked for")


def test_an_unknown_name() -> None:
    with pytest.raises(UsageError) as error:
        resolve_precision("fp16", CPU)
    assert str(error.value) == "There is no precision fp16: use one of auto, fp32, bf16."
