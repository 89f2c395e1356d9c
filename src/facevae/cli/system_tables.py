"""The tables of `facevae info --system`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facevae.cli.tables import new_table
from facevae.config import TrainConfig

if TYPE_CHECKING:
    from rich.table import Table

    from facevae.workflows.system import Processor, SystemDevice, SystemReport


def system_tables(found: SystemReport) -> list[Table]:
    """Return what was found, and how fast it trains."""
    return [_facts_table(found), _speeds_table(found)]


def _facts_table(found: SystemReport) -> Table:
    from rich.markup import escape

    table = new_table(f"facevae {found.facevae} on this machine", [("", "left"), ("", "left")], header=False)
    rows = [
        ("software", f"Python {found.python}, PyTorch {found.torch}"),
        ("processor", found.processor.name),
        ("cores", f"{found.processor.cores}, PyTorch uses {_counted(found.processor.threads, 'thread')}"),
        ("memory", _memory(found.processor)),
        *((device.name, _gpu(device)) for device in found.devices if device.name != "cpu"),
        ("CUDA GPUs", _cuda(found)),
        ("device", _choice(found)),
        ("precision", f"{found.precision} ({found.precision_reason})"),
    ]
    for name, value in rows:
        table.add_row(name, escape(value))
    return table


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _memory(processor: Processor) -> str:
    if processor.memory is None:
        return "unknown"
    available = processor.memory_available
    return _gibibytes(processor.memory) + (f", {_gibibytes(available)} available" if available is not None else "")


def _gibibytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _gpu(device: SystemDevice) -> str:
    parts = [device.description]
    if device.memory is not None:
        parts.append(_gibibytes(device.memory))
    if device.compute_capability is not None:
        parts.append(f"compute capability {device.compute_capability}")
    return ", ".join(parts)


def _cuda(found: SystemReport) -> str:
    if not found.with_cuda:
        return "none, as this PyTorch is built without CUDA"
    count = found.cuda_processes
    if count == 0:
        return "none that PyTorch sees"
    return f"--device cuda trains on {_counted(count, 'GPU')}" + (", a process each" if count > 1 else "")


def _choice(found: SystemReport) -> str:
    if found.device == found.auto_device:
        return f"{found.device}, which --device auto takes"
    return f"{found.device}, as asked for; --device auto takes {found.auto_device}"


def _speeds_table(found: SystemReport) -> Table:
    where = "one GPU of cuda" if found.device == "cuda" and found.cuda_processes > 1 else found.device
    columns = [
        ("precision", "left"),
        ("batch size", "right"),
        ("images/s", "right"),
        (f"{TrainConfig.epochs} rounds of CelebA", "right"),
    ]
    table = new_table(f"Training the reference network on {where}", columns)
    for speed in found.speeds:
        chosen = " (chosen)" if speed.precision == found.precision and len(found.speeds) > 1 else ""
        rate = _three_digits(speed.images_per_second)
        table.add_row(speed.precision + chosen, str(speed.batch_size), rate, f"about {_about(speed.celeba_seconds)}")
    return table


def _three_digits(number: float) -> str:
    rounded = float(f"{number:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100.0 else f"{rounded:g}"


def _about(seconds: float) -> str:
    """Return a time to the second, above a minute to ten seconds, above ten minutes to the minute."""
    from facevae.workflows.duration import describe_duration

    unit = next(unit for limit, unit in ((60.0, 1), (600.0, 10), (float("inf"), 60)) if seconds < limit)
    return describe_duration(float(max(round(seconds / unit), 1) * unit))
