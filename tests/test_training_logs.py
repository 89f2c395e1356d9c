"""What a training writes while it runs: JSON lines and TensorBoard scalars."""

from __future__ import annotations

import json
import math
import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevae.errors import DataError, FacevaeError, UsageError
from facevae.storage.run_log import RunLog, check_run_log
from facevae.storage.tensorboard_log import TensorBoardLog, check_tensorboard
from facevae.workflows.training_log import TrainingLogs, open_logs
from support import Recorder

START = '{"event": "start"}\n'


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=refuse_constant) for line in path.read_text().splitlines()]


def refusal(kind: type[FacevaeError], path: Path, **options: Any) -> str:
    with pytest.raises(kind) as error:
        check_run_log(path, **options)
    return str(error.value)


def test_every_event_is_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    log = RunLog(path)
    for number in range(3):
        log.write("train", {"loss": number / 2, "file": Path("a") / "b", "list": (1, None, "ä\n")})
        found = events(path)
        assert len(found) == number + 1
        time = datetime.fromisoformat(found[-1].pop("time"))
        assert time.utcoffset() == timedelta(0)
        assert found[-1] == {
            "event": "train",
            "loss": number / 2,
            "file": str(Path("a/b")),
            "list": [1, None, "ä\n"],
        }
    log.close()


def test_a_log_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    for _ in range(2):
        check_run_log(path)
        log = RunLog(path)
        log.write("start", {})
        log.close()
    assert [event["event"] for event in events(path)] == ["start", "start"]


def test_a_line_that_was_cut_short_stays_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(START + '{"event": "tr')
    check_run_log(path)
    log = RunLog(path)
    log.write("start", {})
    log.write("end", {})
    log.close()
    lines = path.read_text().splitlines()
    assert lines[:2] == [START.strip(), '{"event": "tr']
    assert [json.loads(line)["event"] for line in lines[2:]] == ["start", "end"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def without_infinities(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [without_infinities(entry) for entry in value]
    if isinstance(value, dict):
        return {key: without_infinities(entry) for key, entry in value.items()}
    return value


@given(VALUES)
def test_every_line_is_json_that_says_the_same(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.unlink(missing_ok=True)
    log = RunLog(path)
    log.write("train", {"value": value})
    log.close()
    (event,) = events(path)
    assert event["value"] == without_infinities(value)


@pytest.mark.parametrize(
    "content",
    [b"notes\n", b"[]\n", b'{"event": "train"}\n', b"{}", b"\x89PNG\r\n\x1a\n", b'{"event": "start"', b"[" * 100_000],
)
def test_other_files_are_not_added_to(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    expected = f"{path} holds something other than a training log: name another file with --log."
    assert refusal(UsageError, path) == expected
    assert path.read_bytes() == content


def test_places_where_no_log_can_be(tmp_path: Path) -> None:
    assert refusal(UsageError, Path("-")) == (
        "A training log cannot go to standard output, which carries the results: name a file with --log."
    )
    assert refusal(UsageError, tmp_path) == f"{tmp_path} is a folder: name a file to write to."
    gone = tmp_path / "gone" / "run.jsonl"
    assert refusal(DataError, gone) == f"There is no folder {gone.parent} to write run.jsonl into: create it first."
    assert refusal(UsageError, Path(os.devnull)) == (
        f"{os.devnull} is not a regular file: name another log with --log."
    )
    faces, weights = tmp_path / "faces.h5", tmp_path / "vae.history.csv"
    faces.write_text("faces")
    (tmp_path / "link").symlink_to(faces)
    for path in (faces, tmp_path / "link", weights, tmp_path / "x" / ".." / weights.name):
        (tmp_path / "x").mkdir(exist_ok=True)
        assert refusal(UsageError, path, inputs=[faces], outputs=[weights]) == (
            f"{path} is another file of this training: name another log with --log."
        )


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)
    with pytest.raises(DataError) as error:
        RunLog(path)
    assert str(error.value) == f"{path} cannot be written: file name too long."


class Failing:
    """A log on a disk that fills up."""

    name = "full.jsonl"

    def __init__(self, room: int) -> None:
        self.room = room
        self.closed = 0

    def write(self, event: str, values: object) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(28, "No space left on device")

    def close(self) -> None:
        self.closed += 1


def test_a_log_that_fails_is_given_up_with_one_notice(tmp_path: Path) -> None:
    recorder, failing, good = Recorder(), Failing(1), RunLog(tmp_path / "good.jsonl")
    logs = TrainingLogs([failing, good], recorder)
    for _ in range(4):
        logs.write("train", loss=1.0)
    logs.close()
    assert recorder.notices == [
        "full.jsonl cannot be written (no space left on device): the training goes on without it."
    ]
    assert failing.closed == 1
    assert len(events(tmp_path / "good.jsonl")) == 4


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (UsageError("A sentence."), "error", "A sentence."),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
        (RuntimeError("a path of this machine"), "error", "RuntimeError"),
    ],
)
def test_an_error_is_the_last_event(tmp_path: Path, error: BaseException, reason: str, message: str) -> None:
    path = tmp_path / "run.jsonl"

    def fail() -> None:
        with open_logs(path, None, {"step": 3}, Recorder()) as logs:
            logs.write("train", step=4)
            raise error

    with pytest.raises(type(error)):
        fail()
    found = events(path)
    assert [event["event"] for event in found] == ["start", "train", "end"]
    assert (found[0]["step"], found[-1]["reason"], found[-1]["message"]) == (3, reason, message)


def test_without_a_log_nothing_is_written(tmp_path: Path) -> None:
    with open_logs(None, None, {"step": 0}, Recorder()) as logs:
        logs.write("train", loss=1.0)
    assert list(tmp_path.iterdir()) == []


# TensorBoard


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read a folder with TensorBoard's own reader: tag -> (step, value)."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    reader = accumulator.EventAccumulator(str(folder))
    reader.Reload()
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


needs_tensorboard = pytest.mark.skipif(
    not any((Path(entry) / "tensorboard").is_dir() for entry in sys.path), reason="tensorboard is not installed"
)


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError) as error:
        check_tensorboard(tmp_path, resume=False)
    assert str(error.value) == "--tensorboard needs the package tensorboard: pip install 'facevae[tensorboard]'"


@needs_tensorboard
def test_scalars_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    check_tensorboard(folder, resume=False)
    log = TensorBoardLog(folder, step=0)
    log.write("start", {"step": 0})
    numbers = {"loss": 4.0, "reconstruction": 3.0, "kl": 1.0, "mse": 0.5, "active_units": 7}
    log.write("train", {"step": 5, **numbers, "learning_rate": 0.25, "images_per_second": 64.0, "seconds": 2.0})
    log.write("valid", {"step": 5, **numbers, "active_units": None, "loss": 8.0})
    log.write("train", {"step": 10, **numbers, "loss": float("nan"), "learning_rate": 0.5, "images_per_second": 1.0})
    log.write("end", {"step": 10})
    log.close()
    found = scalars(folder)
    assert found["loss/valid"] == [(5, 8.0)]
    assert found["learning_rate"] == [(5, 0.25), (10, 0.5)]
    assert found["images_per_second"] == [(5, 64.0), (10, 1.0)]
    assert found["active_units/train"] == [(5, 7.0), (10, 7.0)]
    assert found["loss/train"][0] == (5, 4.0)
    assert math.isnan(found["loss/train"][1][1])
    names = {"loss", "reconstruction", "kl", "mse"}
    tags = {f"{name}/{split}" for name in names for split in ("train", "valid")}
    assert set(found) == tags | {"active_units/train", "learning_rate", "images_per_second"}


@needs_tensorboard
def test_points_after_the_checkpoint_are_replaced(tmp_path: Path) -> None:
    """A killed run had written up to step 30; its checkpoint was of step 20."""
    for first, steps, value in ((0, (10, 20, 30), 1.0), (20, (25, 35), 2.0)):
        log = TensorBoardLog(tmp_path, step=first)
        for step in steps:
            log.write("valid", {"step": step, "loss": value})
        log.close()
    assert scalars(tmp_path)["loss/valid"] == [(10, 1.0), (20, 1.0), (25, 2.0), (35, 2.0)]


@needs_tensorboard
def test_folders_that_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UsageError) as error:
        check_tensorboard(file, resume=False)
    assert str(error.value) == f"{file} is a file: name a folder with --tensorboard."
    (tmp_path / "events.out.tfevents.1.host").write_bytes(b"")
    with pytest.raises(UsageError) as error:
        check_tensorboard(tmp_path, resume=False)
    assert str(error.value) == (
        f"{tmp_path} holds the TensorBoard events of an earlier training: name another folder with --tensorboard, "
        "or remove it."
    )
    check_tensorboard(tmp_path, resume=True)
    with pytest.raises(DataError) as data_error:
        TensorBoardLog(file / "deeper", step=0)
    assert str(data_error.value) == f"{file / 'deeper'} cannot be made a folder: not a directory."
