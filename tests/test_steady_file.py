"""The file that HDF5 writes to: as any other, until an error; then it seems to go on, so that HDF5 can close it."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import facevae
from facevae.errors import DataError
from facevae.storage import steady_file
from facevae.storage.coordinates import write_coordinates
from facevae.storage.latents import Latents
from facevae.storage.steady_file import SteadyFile
from helpers import files, put_latents, put_weights

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.binary(max_size=40)),
        st.tuples(st.just("seek"), st.integers(0, 60)),
        st.tuples(st.just("read"), st.integers(0, 50)),
        st.tuples(st.just("truncate"), st.integers(0, 60)),
        st.tuples(st.just("end"), st.just(0)),
    ),
    max_size=20,
)


@given(ACTIONS)
def test_it_does_what_a_file_does(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, bytes | int]]
) -> None:
    path = tmp_path_factory.mktemp("steady") / "file"
    path.write_bytes(b"what was there before")
    with SteadyFile(path) as steady, io.BytesIO() as model:
        for name, value in actions:
            if isinstance(value, bytes):
                assert steady.write(value) == model.write(value)
            elif name == "seek":
                assert steady.seek(value) == model.seek(value)
            elif name == "end":
                assert steady.seek(0, io.SEEK_END) == model.seek(0, io.SEEK_END)
            elif name == "read":
                assert steady.read(value) == model.read(value)
            else:
                lengthened = value > len(model.getvalue())  # which BytesIO does not do
                steady.truncate(value)
                model.truncate(value)
                if lengthened:
                    place = model.tell()
                    model.seek(len(model.getvalue()))
                    model.write(bytes(value - len(model.getvalue())))
                    model.seek(place)
            assert steady.tell() == model.tell()
        assert steady.error is None
        expected = model.getvalue()
    assert path.read_bytes() == expected


class FailingFile(SteadyFile):
    """A disk with room for so many bytes."""

    def __init__(self, path: Path, room: int) -> None:
        super().__init__(path)
        self.room = room

    def _write_all(self, view: memoryview) -> None:
        self.room -= len(view)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        super()._write_all(view)


@pytest.mark.parametrize("room", [0, 100, 3_000, 100_000, 200_000])
def test_after_an_error_hdf5_closes_the_file_all_the_same(tmp_path: Path, room: int) -> None:
    stream = FailingFile(tmp_path / "file.h5", room)
    with h5py.File(stream, "w") as file:
        rows = file.create_dataset("rows", (0, 50), maxshape=(None, 50), dtype="f4", chunks=(64, 50))
        for number in range(200):
            rows.resize(64 * (number + 1), axis=0)
            rows[64 * number :] = np.full((64, 50), number)
        assert (rows[:64] == 0).all()
    stream.close()
    with pytest.raises(OSError, match="No space left on device"):
        stream.check()


# ------------------------------------------------------------------------------------------ full disks


def limited(*arguments: str, size: int) -> subprocess.CompletedProcess[bytes]:
    """Run a command that cannot write a file of more than `size` bytes, as on a disk that is full."""
    resource = pytest.importorskip("resource", reason="this system has no such limit")
    command = [sys.executable, "-m", "facevae", *arguments, "-q"]
    limits = (size, size)
    return subprocess.run(
        command, capture_output=True, timeout=120, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    )


@pytest.fixture
def room(workspace: Path) -> Path:
    put_weights(workspace)
    put_latents(workspace)
    return workspace


@pytest.mark.parametrize("size", [0, 1_500, 6_000])
def test_latents_on_a_full_disk(faces_file: Path, room: Path, size: int) -> None:
    before, content = files(), Path("latents.h5").read_bytes()
    done = limited("encode", "-o", "latents.h5", size=size)
    assert done.stderr == b"Error: latents.h5 cannot be written: file too large.\n"
    assert (done.returncode, done.stdout) == (1, b"")
    assert (files(), Path("latents.h5").read_bytes()) == (before, content)


def test_a_temporary_folder_that_is_full(faces_file: Path, room: Path) -> None:
    done = limited("encode", size=6_000)
    assert done.stderr.endswith(
        b", where the result is kept until it is whole, cannot be written to: file too large: make room there, set TMPDIR to "
        b"another folder, or name a file with -o.\n"
    )
    assert (done.returncode, done.stdout) == (1, b"")


def test_parts_that_are_joined_on_a_full_disk(faces_file: Path, room: Path) -> None:
    for part in (1, 2):
        facevae.encode(output=f"part-{part}.h5", shard=f"{part}/2")
    before = files()
    done = limited("merge", "part-1.h5", "part-2.h5", "-o", "joined.h5", size=6_000)
    assert done.stderr == b"Error: joined.h5 cannot be written: file too large.\n"
    assert (done.returncode, done.stdout) == (1, b"")
    assert files() == before


def test_coordinates_on_a_full_disk(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Latents("latents.h5") as latents:
        rows = np.arange(latents.count)
        monkeypatch.setattr(steady_file.SteadyFile, "_write_all", no_room)
        with pytest.raises(DataError, match=r"^map\.h5 cannot be written: no space left on device\.$"):
            write_coordinates(Path("map.h5"), np.zeros((latents.count, 2), np.float32), rows, latents, {"seed": 1})
    assert not Path("map.h5").exists()


def no_room(self: SteadyFile, view: memoryview) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
