"""`info --system`: what PyTorch finds on this machine, what facevae will use of it, and how fast it trains here."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import dataclass

import torch

from facevae.config import TrainConfig
from facevae.errors import UsageError
from facevae.model.device import resolve_device
from facevae.model.precision import Precision, native_bfloat16, resolve_precision
from facevae.model.speed import measure_speed
from facevae.progress import Notice, Report, silent
from facevae.version import __version__
from facevae.workflows.launch import process_count
from facevae.workflows.machine import cores, memory

CELEBA_FACES = 202_599
"""The images of CelebA."""

_BUSY = 0.5
"""From this load for each core on, other programs disturb the measurement."""


@dataclass(frozen=True)
class Processor:
    """The processor: its name, the logical cores that this process may use, the threads that PyTorch uses, memory in bytes.

    `load` is how many threads wanted a core, on average over the last minute. Load and memory are None where the operating system
    does not tell.
    """

    name: str
    cores: int
    threads: int
    load: float | None
    memory: int | None
    memory_available: int | None


@dataclass(frozen=True)
class SystemDevice:
    """A device as `--device` names it; memory in bytes, compute capability such as "9.0" (CUDA alone), both None if unknown.

    `native_bfloat16` says what makes bfloat16 native on it, and is None where it is not.
    """

    name: str
    description: str
    memory: int | None
    compute_capability: str | None
    native_bfloat16: str | None


@dataclass(frozen=True)
class Speed:
    """Training steps in a precision: images a second in batches of `batch_size`, and the seconds that a training would take.

    That is one of the default's ten rounds over CelebA's 202,599 images, steps alone.
    """

    precision: str
    batch_size: int
    images_per_second: float
    celeba_seconds: float


@dataclass(frozen=True)
class SystemReport:
    """What `system` found.

    `auto_device` is what `--device auto` takes; `cuda_processes` how many GPUs `--device cuda` would train on, with a process for
    each; `with_cuda` whether this PyTorch was built for CUDA at all. `device`, `precision` and `precision_reason` are what was
    chosen; the first of `speeds` is that of the chosen precision, on one device.
    """

    facevae: str
    python: str
    torch: str
    with_cuda: bool
    processor: Processor
    devices: tuple[SystemDevice, ...]
    auto_device: str
    cuda_processes: int
    device: str
    precision: str
    precision_reason: str
    speeds: tuple[Speed, ...]


def system(
    device: str = "auto", precision: str = "auto", *, probe_seconds: float = 2.0, report: Report = silent
) -> SystemReport:
    """Describe this machine, and measure how fast it trains the reference network; touches no file.

    The speed is that of whole training steps (forward, backward, Adam) on random images that lie on the device already, see
    `facevae.model.speed`. Where the device has bfloat16, it is measured in both precisions, each for half of the time.

    Args:
        device: auto, cpu, cuda (cuda:1, ...) or mps.
        precision: auto, fp32 or bf16.
        probe_seconds: for all measurements together; warming up takes about half as long again.
        report: is called with progress, and with a notice where other programs slow the measurement down.

    Raises:
        UsageError: there is no such device or precision, or the time is not above 0.
    """
    if not 0.0 < probe_seconds < math.inf:
        raise UsageError(f"A probe of {probe_seconds} seconds is out of range: use more than 0.")
    target = resolve_device(device)
    chosen = resolve_precision(precision, target)
    processor = _processor()
    if target.type == "cpu":
        _warn_of_load(processor, report)
    return SystemReport(
        facevae=__version__,
        python=platform.python_version(),
        torch=str(torch.__version__),
        with_cuda=torch.backends.cuda.is_built(),  # type: ignore[no-untyped-call]
        processor=processor,
        devices=tuple(_devices(processor)),
        auto_device=str(resolve_device("auto")),
        cuda_processes=process_count(None, torch.device("cuda")) if torch.cuda.is_available() else 0,
        device=str(target),
        precision=chosen.name,
        precision_reason=chosen.reason,
        speeds=_speeds(target, chosen, probe_seconds, report),
    )


def _speeds(device: torch.device, chosen: Precision, seconds: float, report: Report) -> tuple[Speed, ...]:
    """Measure the chosen precision, and the other one where both make sense, in batches of the same size."""
    names = [chosen.name]
    if native_bfloat16(device) is not None or chosen.name == "bf16":
        names.append("fp32" if chosen.name == "bf16" else "bf16")
    speeds: list[Speed] = []
    for name in names:
        batch_size = speeds[0].batch_size if speeds else None
        batch, rate = measure_speed(device, name, seconds / len(names), batch_size=batch_size, report=report)
        speeds.append(Speed(name, batch, rate, TrainConfig.epochs * CELEBA_FACES / rate))
    return tuple(speeds)


def _processor() -> Processor:
    total, available = memory()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return Processor(_processor_name(), cores(), torch.get_num_threads(), load, total, available)


def _warn_of_load(processor: Processor, report: Report) -> None:
    # The load is that of the whole machine, even where only some of its cores are ours.
    machine = os.cpu_count() or 1
    if processor.load is not None and processor.load > _BUSY * machine:
        report(
            Notice(
                f"Other programs kept this machine busy in the last minute (load {processor.load:.1f}, cores {machine}): "
                "with less to do it trains faster than measured now."
            )
        )


def _processor_name() -> str:
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # since PyTorch 2.10
    name = capabilities().get("cpu_name") if capabilities is not None else None
    return str(name or platform.processor() or platform.machine() or "unknown").strip()


def _devices(processor: Processor) -> list[SystemDevice]:
    cpu = torch.device("cpu")
    devices = [SystemDevice("cpu", processor.name, processor.memory, None, native_bfloat16(cpu))]
    if torch.cuda.is_available():
        devices += [_cuda_device(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        mps = torch.device("mps")
        devices.append(SystemDevice("mps", "Apple GPU", None, None, native_bfloat16(mps)))
    return devices


def _cuda_device(index: int) -> SystemDevice:
    device = torch.device("cuda", index)
    properties = torch.cuda.get_device_properties(device)
    capability = f"{properties.major}.{properties.minor}"
    return SystemDevice(str(device), properties.name, properties.total_memory, capability, native_bfloat16(device))
