"""Writing results: whole or not at all, and never over something else."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facevae.errors import DataError, UsageError
from facevae.storage.history import HistoryPoint, write_history
from facevae.storage.output import as_output, check_output, output_path, write_bytes
from facevae.temporary import HOST

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(100)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_result_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "result.bin"
    with output_path(target) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert listing(tmp_path) == ["result.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, DataError])
def test_failed_block_leaves_the_old_result_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "result.bin"
    target.write_bytes(b"old")

    def write_half() -> None:
        with output_path(target) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert target.read_bytes() == b"old"
    assert listing(tmp_path) == ["result.bin"]


def test_an_operating_systems_error_is_told_as_one(tmp_path: Path) -> None:
    target = tmp_path / "result.bin"

    def fill_the_disk() -> None:
        with output_path(target) as temporary:
            temporary.write_bytes(b"half")
            raise OSError(28, "No space left on device", str(temporary))

    with pytest.raises(DataError) as error:
        fill_the_disk()
    assert str(error.value) == f"{target} cannot be written: no space left on device."
    assert listing(tmp_path) == []


def test_write_bytes_replaces_in_one_go(tmp_path: Path) -> None:
    target = tmp_path / "result.bin"
    write_bytes(target, b"one")
    first = target.stat().st_ino
    write_bytes(target, b"two")
    assert target.read_bytes() == b"two"
    # A new file took the old one's name, so that a reader of the old one keeps it whole.
    assert target.stat().st_ino != first
    assert listing(tmp_path) == ["result.bin"]


def test_strings_become_paths_and_streams_stay() -> None:
    stream = io.BytesIO()
    assert as_output("a/b.png") == Path("a/b.png")
    assert as_output(Path("a/b.png")) == Path("a/b.png")
    assert as_output(stream) is stream


# ------------------------------------------------------------------------------------------ what killed runs left

posix_only = pytest.mark.skipif(os.name != "posix", reason="elsewhere no process can be asked after without harm")


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(30)
    return process.pid


@pytest.fixture
def living() -> Iterator[int]:
    """The number of a process of somebody else's that lives as long as the test."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate(b"\n", timeout=30)


@posix_only
@pytest.mark.parametrize("way", ["bytes", "block"])
def test_the_next_write_removes_what_killed_runs_left(tmp_path: Path, dead: int, living: int, way: str) -> None:
    target = tmp_path / "vae.safetensors"
    stays = [
        f".vae.safetensors.{HOST}-{living}.part",
        f".vae.safetensors.{HOST}-{os.getppid()}.part",
        f".vae.safetensors.{HOST}-0.part",  # every process of the group, which none can be called
        f".vae.safetensors.{HOST}-{10**30}.part",  # more than a process number can be
        f".vae.safetensors.another{HOST}-{dead}.part",  # of another machine
        f".vae.safetensors.{HOST}--{dead}.part",
        f".vae.safetensors.{HOST}-{dead}.partial",
        f"vae.safetensors.{HOST}-{dead}.part",
        f".vae.safetensors.{HOST}-.part",
        f".vae.safetensors.{HOST}-mine.part",
    ]
    # Of this output and of others in the same folder.
    goes = [f".{name}.{HOST}-{dead}.part" for name in ("vae.safetensors", "latents.h5", "vae", "vae.safetensors.old")]
    for name in (*goes, *stays):
        (tmp_path / name).write_bytes(b"half")
    if way == "bytes":
        write_bytes(target, b"whole")
    else:
        with output_path(target) as temporary:
            assert temporary.name == f".vae.safetensors.{HOST}-{os.getpid()}.part"
            temporary.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert listing(tmp_path) == sorted(["vae.safetensors", *stays])


@posix_only
def test_remains_of_a_long_name_are_found_too(tmp_path: Path, dead: int) -> None:
    (tmp_path / f".{'x' * 40}.{HOST}-{dead}.part").write_bytes(b"half")
    write_bytes(tmp_path / ("x" * 255), b"whole")
    assert listing(tmp_path) == ["x" * 255]


@posix_only
def test_remains_that_cannot_be_removed_stop_nothing(tmp_path: Path, dead: int) -> None:
    """A folder of that name cannot be unlinked."""
    (tmp_path / f".result.bin.{HOST}-{dead}.part").mkdir()
    write_bytes(tmp_path / "result.bin", b"whole")
    assert (tmp_path / "result.bin").read_bytes() == b"whole"


@posix_only
def test_a_killed_write_leaves_one_temporary_file_which_the_next_removes(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom facevae.storage.output import output_path\n"
        "with output_path(Path(sys.argv[1])) as path:\n"
        "    path.write_bytes(b'half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "result.bin")])
    assert process.wait(60) < 0
    assert listing(tmp_path) == [f".result.bin.{HOST}-{process.pid}.part"]
    write_bytes(tmp_path / "result.bin", b"whole")
    assert listing(tmp_path) == ["result.bin"]


@pytest.mark.skipif(os.name != "posix", reason="the name of the system is pretended, and paths follow it")
def test_elsewhere_remains_stay(tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from facevae import temporary

    (tmp_path / f".result.bin.{HOST}-{dead}.part").write_bytes(b"half")
    monkeypatch.setattr(temporary, "os", _OtherSystem())
    write_bytes(tmp_path / "result.bin", b"whole")
    assert listing(tmp_path) == [f".result.bin.{HOST}-{dead}.part", "result.bin"]


class _OtherSystem:
    """The `os` of another system, of which only the name differs; asking after processes fails the test."""

    name = "nt"
    getpid = staticmethod(os.getpid)
    fsync = staticmethod(os.fsync)


def test_write_bytes_into_a_missing_folder(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "result.bin"
    with pytest.raises(DataError) as error:
        write_bytes(target, b"data")
    assert str(error.value) == f"{target} cannot be written: no such file or directory."


def test_a_file_name_too_long_for_the_system(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 300)
    with pytest.raises(DataError) as error:
        write_bytes(target, b"data")
    assert str(error.value) == f"{target} cannot be written: file name too long."
    with pytest.raises(DataError) as error:
        check_output(target)
    assert str(error.value) == f"{target} cannot be written: file name too long."


def test_the_longest_name_the_system_allows(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 255)
    write_bytes(target, b"data")
    assert target.read_bytes() == b"data"


class Stream(io.BytesIO):
    """A stream that notes whether it was flushed."""

    flushed = False

    def flush(self) -> None:
        self.flushed = True
        super().flush()


def test_streams_get_the_bytes_and_are_flushed() -> None:
    stream = Stream()
    write_bytes(stream, b"picture")
    assert stream.getvalue() == b"picture"
    assert stream.flushed


def test_streams_get_the_file_only_when_the_block_ends_well() -> None:
    stream = Stream()
    with output_path(stream) as temporary:
        temporary.write_bytes(b"latents")
        assert stream.getvalue() == b""
    assert stream.getvalue() == b"latents"
    assert stream.flushed
    assert not temporary.parent.exists()

    def write_half() -> None:
        with output_path(stream) as path:
            path.write_bytes(b"half")
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - it has no message
        write_half()
    assert stream.getvalue() == b"latents"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_results_have_the_permissions_of_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    earlier = os.umask(mask)
    try:
        write_bytes(tmp_path / "bytes", b"data")
        with output_path(tmp_path / "block") as temporary:
            temporary.write_bytes(b"data")
    finally:
        os.umask(earlier)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("bytes", "block")} == {mode}


def refusal(expected: type[Exception], output: Path, **options: Any) -> str:
    with pytest.raises(expected) as error:
        check_output(output, **options)
    return str(error.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(UsageError, tmp_path) == f"{tmp_path} is a folder: name a file to write to."


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "result.png"
    message = f"There is no folder {tmp_path / 'missing'} to write result.png into: create it first."
    assert refusal(DataError, target) == message


def test_a_file_taken_for_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    message = f"There is no folder {tmp_path / 'file'} to write result.png into: create it first."
    assert refusal(DataError, tmp_path / "file" / "result.png") == message


@pytest.mark.parametrize("way", ["same", "relative", "symbolic", "hard"])
def test_an_input_is_refused_by_whatever_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "face.png"
    source.write_bytes(PICTURE)
    output = {"same": source, "relative": Path("face.png")}.get(way, tmp_path / "link.png")
    if way == "symbolic":
        output.symlink_to(source)
    if way == "hard":
        output.hardlink_to(source)
    message = f"{output} is an input and would be overwritten: name another output with -o."
    assert refusal(UsageError, output, inputs=[tmp_path / "gone.png", source]) == message


def test_a_file_that_cannot_be_looked_into_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "thing"
    target.write_bytes(b"secret")

    def refuse(self: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    assert refusal(DataError, target) == f"{target} cannot be written: permission denied."


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    """Reading a pipe's first bytes would wait for ever; a device would be replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert refusal(UsageError, pipe) == f"{pipe} is not a regular file: name another output with -o."
    assert refusal(UsageError, Path(os.devnull)) == f"{os.devnull} is not a regular file: name another output with -o."


def test_a_folder_without_write_permission_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write anywhere")
        message = f"The folder {folder} cannot be written to: name another output with -o."
        assert refusal(DataError, folder / "result.png") == message
    finally:
        folder.chmod(0o755)


def test_streams_are_never_refused(tmp_path: Path) -> None:
    check_output(io.BytesIO(), inputs=[tmp_path / "gone"], kind="latents")


def test_history_is_a_table_with_every_point(tmp_path: Path) -> None:
    points = [
        HistoryPoint(0.5, "train", 123.456789012, 100.0, 23.456789012, 1e-9, 98765.4321),
        HistoryPoint(1.0, "valid", 1.0, 0.5, 0.5, 0.25, 0.0, 17),
    ]
    path = tmp_path / "vae.history.csv"
    write_history(path, points)
    assert path.read_text() == (
        "epoch,split,loss,reconstruction,kl,mse,images_per_second,active_units\n"
        "0.5,train,123.4568,100,23.45679,1e-09,98765.43,\n"
        "1,valid,1,0.5,0.5,0.25,0,17\n"
    )


@posix_only
def test_an_output_that_is_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "vae.safetensors", tmp_path / "vae.safetensors"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_bytes(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_dash_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        check_output(Path("-"), option="--coordinates")
    assert str(error.value) == "This result cannot go to standard output: name a file with --coordinates."
