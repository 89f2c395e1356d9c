"""`facevae info --system`: the machine described, and the speed of training measured."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

import facevae
from facevae.config import TrainConfig
from facevae.errors import UsageError
from facevae.model import speed as speed_module
from facevae.model.precision import native_bfloat16, resolve_precision
from facevae.model.speed import MeasuredSpeed, measure_speed
from facevae.workflows import system as system_module
from facevae.workflows.system import Processor, Speed, SystemDevice, SystemReport, system
from helpers import Outcome, files, refusal, run, succeed
from support import Recorder

CPU = torch.device("cpu")
GIB = 2**30

LAPTOP = SystemReport(
    facevae="0.1.0",
    python="3.12.3",
    torch="2.15.0+cpu",
    with_cuda=False,
    processor=Processor("AMD EPYC 9R14 [x]", 8, 1, 0.2, 16 * GIB, None),
    devices=(SystemDevice("cpu", "AMD EPYC 9R14 [x]", 16 * GIB, None, None),),
    auto_device="cpu",
    cuda_processes=0,
    device="cpu",
    precision="fp32",
    precision_reason="bfloat16 is not native here",
    speeds=(Speed("fp32", 74, 372.94, 5432.5),),
)

_GPU = "NVIDIA H100 80GB HBM3"
SERVER = SystemReport(
    facevae="0.1.0",
    python="3.12.3",
    torch="2.15.0+cu132",
    with_cuda=True,
    processor=Processor("Intel(R) Xeon(R) Platinum 8488C", 16, 16, 0.2, 128 * GIB, 100 * GIB),
    devices=(
        SystemDevice("cpu", "Intel(R) Xeon(R) Platinum 8488C", 128 * GIB, None, "amx_bf16"),
        SystemDevice("cuda:0", _GPU, 79 * GIB, "9.0", "compute capability 9.0"),
        SystemDevice("cuda:1", _GPU, 79 * GIB, "9.0", "compute capability 9.0"),
    ),
    auto_device="cuda",
    cuda_processes=2,
    device="cuda",
    precision="bf16",
    precision_reason="bfloat16 is native here: compute capability 9.0",
    speeds=(Speed("bf16", 500, 151_234.0, 13.4), Speed("fp32", 500, 61_234.0, 187.2)),
)


def shown(found: SystemReport, monkeypatch: pytest.MonkeyPatch, *arguments: str, terminal: str = "") -> Outcome:
    """Run `info --system` where `found` is what is found."""
    monkeypatch.setattr(system_module, "system", lambda device, *, report: found)
    outcome = run("info", "--system", *arguments, terminal=terminal)
    assert (outcome.code, outcome.stderr) == (0, "")
    return outcome


def trimmed(outcome: Outcome) -> str:
    return "\n".join(line.rstrip() for line in outcome.lines)


# ------------------------------------------------------------------------------------------ what is shown


def test_a_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        trimmed(shown(LAPTOP, monkeypatch))
        == """\
facevae 0.1.0 on this machine

 software    Python 3.12.3, PyTorch 2.15.0+cpu
 processor   AMD EPYC 9R14 [x]
 cores       8, PyTorch uses 1 thread
 memory      16.0 GiB
 CUDA GPUs   none, as this PyTorch is built without CUDA
 device      cpu, which --device auto takes
 precision   fp32 (bfloat16 is not native here)

Training the reference network on cpu

 precision   batch size   images/s   10 rounds of CelebA
 ───────────────────────────────────────────────────────
 fp32                74        373           about 1h31m
"""
    )


def test_a_machine_with_two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        trimmed(shown(SERVER, monkeypatch))
        == """\
facevae 0.1.0 on this machine

 software    Python 3.12.3, PyTorch 2.15.0+cu132
 processor   Intel(R) Xeon(R) Platinum 8488C
 cores       16, PyTorch uses 16 threads
 memory      128.0 GiB, 100.0 GiB available
 cuda:0      NVIDIA H100 80GB HBM3, 79.0 GiB, compute capability 9.0
 cuda:1      NVIDIA H100 80GB HBM3, 79.0 GiB, compute capability 9.0
 CUDA GPUs   --device cuda trains on 2 GPUs, a process each
 device      cuda, which --device auto takes
 precision   bf16 (bfloat16 is native here: compute capability 9.0)

Training the reference network on one GPU of cuda

 precision       batch size   images/s   10 rounds of CelebA
 ───────────────────────────────────────────────────────────
 bf16 (chosen)          500    151,000             about 13s
 fp32                   500     61,200           about 3m10s
"""
    )


def test_a_terminal_of_80_columns_folds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    on_terminal = shown(SERVER, monkeypatch, terminal="stdout").stdout.decode()
    plain = trimmed(shown(SERVER, monkeypatch))
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[3m"):
        on_terminal = on_terminal.replace(code, "")
    assert "\n".join(line.rstrip() for line in on_terminal.splitlines()) == plain


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"device": "cpu"}, " device      cpu, as asked for; --device auto takes cuda"),
        ({"cuda_processes": 0}, " CUDA GPUs   none that PyTorch sees"),
        ({"cuda_processes": 1}, " CUDA GPUs   --device cuda trains on 1 GPU"),
        ({"processor": replace(SERVER.processor, memory=None)}, " memory      unknown"),
        ({"device": "mps", "devices": (SystemDevice("mps", "Apple GPU", None, None, None),)}, " mps         Apple GPU"),
        ({"device": "cuda:1"}, "Training the reference network on cuda:1"),
    ],
)
def test_other_machines(changes: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert line in trimmed(shown(replace(SERVER, **changes), monkeypatch)).splitlines()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.02, "about 1s"),
        (59.4, "about 59s"),
        (60.2, "about 1m"),
        (94.0, "about 1m30s"),
        (599.0, "about 10m"),
        (3599.0, "about 1h"),
        (100_000.0, "about 27h47m"),
    ],
)
def test_times_are_rounded(seconds: float, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = replace(LAPTOP, speeds=(Speed("fp32", 74, 5.0, seconds),))
    assert trimmed(shown(found, monkeypatch)).rstrip().endswith(f" {text}")


@pytest.mark.parametrize(
    ("rate", "text"), [(7.123, "7.12"), (98.76, "98.8"), (1234.5, "1,230"), (1234567.0, "1,230,000")]
)
def test_speeds_are_rounded(rate: float, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = replace(LAPTOP, speeds=(Speed("fp32", 74, rate, 60.0),))
    assert trimmed(shown(found, monkeypatch)).splitlines()[-1].split() == ["fp32", "74", text, "about", "1m"]


def test_json_gives_the_whole_report(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = asdict(SERVER)
    expected["devices"], expected["speeds"] = list(expected["devices"]), list(expected["speeds"])
    assert shown(SERVER, monkeypatch, "--json").json == expected


# ------------------------------------------------------------------------------------------ the command


def test_the_command_on_this_machine(workspace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = system
    monkeypatch.setattr(system_module, "system", lambda *a, **k: real(*a, probe_seconds=0.01, **k))
    outcome = succeed("info", "--system", "--device", "cpu", "--quiet", "--json")
    assert outcome.stderr == ""
    found = outcome.json
    assert (found["device"], found["processor"]["threads"]) == ("cpu", torch.get_num_threads())
    assert found["speeds"][0]["images_per_second"] > 0
    assert files() == []


def test_what_does_not_go_together(workspace: Any) -> None:
    assert refusal("info", "faces.h5", "--system", code=2) == (
        "--system describes this machine, not faces.h5: leave one of the two out."
    )
    assert refusal("info", "--system", "--size", 64, code=2) == (
        "--system measures the reference network, not that of --size 64: leave one of the two out."
    )
    assert refusal("info", "--device", "cpu", code=2) == (
        "--device says where to measure the speed: use it with --system."
    )


# ------------------------------------------------------------------------------------------ the library


def test_this_machine() -> None:
    state = torch.random.get_rng_state()
    found = system("cpu", probe_seconds=0.01)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (found.facevae, found.torch) == (facevae.__version__, str(torch.__version__))
    assert found.python == platform.python_version()
    assert found.processor.name
    assert found.processor.threads == torch.get_num_threads()
    assert 1 <= found.processor.cores <= (os.cpu_count() or 1)
    if found.processor.memory and found.processor.memory_available:
        assert 0 < found.processor.memory_available < found.processor.memory
    native = native_bfloat16(CPU)
    assert found.devices[0] == SystemDevice("cpu", found.processor.name, found.processor.memory, None, native)
    chosen = resolve_precision("auto", CPU)
    assert (found.device, found.precision, found.precision_reason) == ("cpu", chosen.name, chosen.reason)
    assert [speed.precision for speed in found.speeds] == (["bf16", "fp32"] if native else ["fp32"])
    assert len({speed.batch_size for speed in found.speeds}) == 1
    for speed in found.speeds:
        assert speed.celeba_seconds == pytest.approx(2_025_990 / speed.images_per_second)


@pytest.mark.parametrize(
    ("native", "precision", "measured"),
    [
        ("amx_bf16", "auto", ["bf16", "fp32"]),
        ("amx_bf16", "fp32", ["fp32", "bf16"]),
        (None, "auto", ["fp32"]),
        (None, "fp32", ["fp32"]),
        (None, "bf16", ["bf16", "fp32"]),
    ],
)
def test_what_is_measured(
    native: str | None, precision: str, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def measure(
        device: torch.device, name: str, seconds: float, *, batch_size: int | None, report: Any
    ) -> MeasuredSpeed:
        calls.append((device, name, seconds, batch_size))
        return MeasuredSpeed(70, 1000.0)

    monkeypatch.setattr(system_module, "measure_speed", measure)
    monkeypatch.setattr(system_module, "native_bfloat16", lambda device: native)
    monkeypatch.setattr("facevae.model.precision.native_bfloat16", lambda device: native)
    found = system("cpu", precision, probe_seconds=3.0)
    each = 3.0 / len(measured)
    assert calls == [(CPU, name, each, 70 if number else None) for number, name in enumerate(measured)]
    assert found.speeds == tuple(Speed(name, 70, 1000.0, 2025.99) for name in measured)
    assert found.precision == measured[0]


def test_gpus_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(name="GPU", total_memory=8 * GIB, major=7, minor=5)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(system_module, "measure_speed", lambda *a, **k: MeasuredSpeed(500, 1.0))
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    found = system("cuda:1")
    assert [device.name for device in found.devices if device.name != "mps"] == ["cpu", "cuda:0", "cuda:1"]
    assert found.devices[1] == SystemDevice("cuda:0", "GPU", 8 * GIB, "7.5", None)
    assert (found.auto_device, found.device, found.cuda_processes) == ("cuda", "cuda:1", 2)
    assert found.precision == "fp32"


def test_other_programs_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_module, "measure_speed", lambda *a, **k: MeasuredSpeed(500, 1.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for load, notices in ((1.9, []), (2.1, [1])):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 9.0, 9.0), raising=False)
        report = Recorder()
        assert system("cpu", report=report).processor.load == load
        assert len(report.notices) == len(notices)
    assert report.notices == [
        "Other programs kept this machine busy in the last minute (load 2.1, cores 4): "
        "with less to do it trains faster than measured now."
    ]


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_times_out_of_range(seconds: float) -> None:
    with pytest.raises(UsageError) as error:
        system("cpu", probe_seconds=seconds)
    assert str(error.value) == f"A probe of {seconds} seconds is out of range: use more than 0."


def test_an_unknown_precision() -> None:
    with pytest.raises(UsageError) as error:
        system("cpu", "fp8")
    assert str(error.value) == "There is no precision fp8: use one of auto, fp32, bf16."


# ------------------------------------------------------------------------------------------ the measurement


class FakeTrainer:
    """Trains at a known speed, on a clock of its own: the first step takes longer, and every tenth is disturbed."""

    now = 0.0
    made: ClassVar[list[tuple[str, int]]] = []

    def __init__(self, rate: float, precision: str, batch: int) -> None:
        self.rate, self.batch, self.steps, self.reads = rate, batch, 0, 0
        FakeTrainer.made.append((precision, batch))

    def advance(self) -> int:
        slow = 3.0 if self.steps == 0 or self.steps % 10 == 9 else 1.0
        FakeTrainer.now += slow * self.batch / self.rate
        self.steps += 1
        return self.batch

    def read_loss(self) -> None:
        self.reads += 1


def measured(rate: float, seconds: float, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    FakeTrainer.now, FakeTrainer.made = 0.0, []
    clock = SimpleNamespace(perf_counter=lambda: FakeTrainer.now)
    monkeypatch.setattr(speed_module, "time", clock)
    monkeypatch.setattr(speed_module, "_new_trainer", lambda device, *how: FakeTrainer(rate, *how))
    return measure_speed(CPU, "fp32", seconds, **options)


def test_a_slow_machine_is_measured_in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(50.0, 1.0, monkeypatch) == (16, pytest.approx(50.0))
    assert FakeTrainer.made == [("fp32", 16)]
    assert FakeTrainer.now < 2.5
    # However slow, it ends after a warm-up and one step.
    assert measured(1.0, 1.0, monkeypatch) == (16, pytest.approx(1.0))
    assert pytest.approx(4 * 16.0) == FakeTrainer.now


def test_batches_grow_until_five_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(801.0, 1.0, monkeypatch) == (160, pytest.approx(801.0))
    assert FakeTrainer.made == [("fp32", 16), ("fp32", 64), ("fp32", 160)]
    assert FakeTrainer.now < 3.0
    assert measured(401.0, 1.0, monkeypatch) == (64, pytest.approx(401.0))  # 80 would fit: not worth another warm-up


def test_a_fast_machine_is_measured_in_the_batches_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(100_000.0, 1.0, monkeypatch)
    assert FakeTrainer.made == [("fp32", batch) for batch in (16, 64, 256, TrainConfig.batch_size)]
    assert found.batch_size == TrainConfig.batch_size
    assert found.images_per_second == pytest.approx(100_000.0, rel=0.25)
    assert FakeTrainer.now < 1.6


def test_a_given_batch_size_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(50.0, 1.0, monkeypatch, batch_size=80) == (80, pytest.approx(50.0))
    assert FakeTrainer.made == [("fp32", 80)]


def test_progress_ends_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Recorder()
    measured(50.0, 1.0, monkeypatch, report=report)
    assert [event.done for event in report.progress] == sorted(event.done for event in report.progress)
    assert (report.progress[0].done, report.progress[-1].done) == (0, 100)
    assert {(event.stage, event.total, event.unit) for event in report.progress} == {("probe in fp32", 100, "%")}
    assert report.progress[-1].values == {"images/s": pytest.approx(50.0)}


def test_the_steps_are_those_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real trainer, of the reference network: the weights move, and the images are uint8."""
    trainer = speed_module._new_trainer(CPU, "fp32", 2)
    before = [parameter.detach().clone() for parameter in trainer.vae.parameters()]
    assert speed_module._timed(trainer, 1) > 0.0
    assert any(not torch.equal(old, new) for old, new in zip(before, trainer.vae.parameters(), strict=True))
    assert trainer.config == replace(TrainConfig(batch_size=2, precision="fp32"), epochs=trainer.config.epochs)
    assert trainer.vae.config == facevae.ModelConfig()
