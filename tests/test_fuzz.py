"""Rubbish in, a sentence out: every reader on files that were made to do harm, and on some that were spoiled at random.

`benchmarks/fuzz.py` goes on with the latter for minutes, in processes of its own.
"""

from __future__ import annotations

import os
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facevae.errors import DataError, FacevaeError, in_one_line
from facevae.storage import celeba
from facevae.workflows.prepare import prepare
from fuzzing import FaultError, Target, attempt
from fuzzing_cases import SAFETENSORS, Case, archive_cases, image_cases, other_cases, safetensors_cases, table_cases
from fuzzing_formats import NAMES, encoded
from fuzzing_hdf5 import all_edits, bombs, edited, edits, links_out
from fuzzing_targets import all_targets
from helpers import files, succeed

TARGETS = all_targets()
HDF5 = ("faces", "latents", "map")


class Bench:
    """A target with its valid files, and a folder to read in."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target, self.path = target, folder / "work" / target.file
        for name in ("seeds", "work"):
            (folder / name).mkdir()
        self.seeds = target.seeds(folder / "seeds")
        for seed in self.seeds:  # imports on first use
            self.path.write_bytes(seed)
            with suppress(FacevaeError):
                target.read(self.path)

    def read(self, data: bytes) -> str | None:
        self.path.write_bytes(data)
        return attempt(self.target, self.path)


Benches = Callable[[str], Bench]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Benches:
    @cache
    def of(name: str) -> Bench:
        return Bench(TARGETS[name], tmp_path_factory.mktemp(name.replace(" ", "-")))

    return of


@pytest.mark.parametrize("name", TARGETS)
def test_valid_files_are_read(name: str, bench: Benches) -> None:
    found = bench(name)
    assert any(found.read(seed) is None for seed in found.seeds) or name == "any"


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_spoiled_files_are_read_or_refused(name: str, bench: Benches, seed: int) -> None:
    found = bench(name)
    found.read(found.target.spoiled(found.seeds, Random(seed)))


def check(case: Case, bench: Benches) -> None:
    if case.target not in TARGETS:
        pytest.skip(f"the reader of {case.target} is not installed")
    text = bench(case.target).read(case.data)
    assert text is not None or not case.refused


def named(cases: list[Case]) -> list[object]:
    return [pytest.param(case, id=f"{case.target}: {case.name}".replace(" ", "-")) for case in cases]


@pytest.mark.parametrize("case", named(list(table_cases())))
def test_tables_that_were_made_to_do_harm(case: Case, bench: Benches) -> None:
    check(case, bench)


@pytest.mark.parametrize("case", named(list(other_cases())))
def test_other_files_that_were_made_to_do_harm(case: Case, bench: Benches) -> None:
    check(case, bench)


def test_images_that_were_made_to_do_harm(bench: Benches) -> None:
    for case in image_cases():
        check(case, bench)


def test_archives_that_were_made_to_do_harm(bench: Benches) -> None:
    for case in archive_cases():
        check(case, bench)


@pytest.mark.parametrize("name", SAFETENSORS)
def test_safetensors_that_were_made_to_do_harm(name: str, bench: Benches) -> None:
    for case in safetensors_cases(name, bench(name).seeds[-1]):
        try:
            check(case, bench)
        except AssertionError as error:
            raise AssertionError(f"{case.name}: {error}") from error


@pytest.mark.parametrize("name", HDF5)
def test_hdf5_that_reads_other_files_or_declares_too_much_is_refused(name: str, bench: Benches) -> None:
    found = bench(name)
    for kinds in (links_out, bombs):
        for label, edit in all_edits(found.seeds[0], kinds):
            text = found.read(edited(found.seeds[0], edit))
            assert text is not None, label


@pytest.mark.parametrize("name", HDF5)
def test_hdf5_of_another_content_is_read_or_refused(name: str, bench: Benches) -> None:
    found = bench(name)
    known = all_edits(found.seeds[0], edits)
    for number, (label, edit) in enumerate(known):
        if label.startswith("attribute") and number % 11:  # the long run has them all
            continue
        try:
            found.read(edited(found.seeds[0], edit))
        except FaultError as fault:
            raise FaultError(f"{label}: {fault}") from fault


def test_the_oracle_tells_faults(tmp_path: Path) -> None:
    def raising(error: Exception) -> Target:
        def read(path: Path) -> None:
            raise error

        return Target("any", "file", lambda folder: [], read)

    def warn(path: Path) -> None:
        warnings.warn("a warning", stacklevel=1)

    def unpickle(path: Path) -> None:
        pickle.loads(pickle.dumps(Path))

    def greedy(path: Path) -> None:
        try:
            bytearray(1 << 40)
        except MemoryError as error:
            raise DataError(f"{path} is damaged.") from error

    path = tmp_path / "file"
    for target, text in (
        (raising(KeyError("x")), "KeyError: 'x'"),
        (raising(DataError("")), "its text is no sentence: ''"),
        (raising(DataError(f"{path} " + "x" * 2000)), "its text is no sentence: '/file xxx"),
        (raising(DataError("It is damaged.")), "its text does not name the file: It is damaged."),
        (Target("any", "file", lambda folder: [], warn), "a warning escapes: UserWarning: a warning"),
        (Target("any", "file", lambda folder: [], unpickle), "it did what no reader may: pickle.find_class"),
        (Target("any", "file", lambda folder: [], greedy), "it asked for more memory than there is"),
    ):
        with pytest.raises(FaultError) as caught:
            attempt(target, path)
        assert str(caught.value).startswith(text)
    assert attempt(raising(DataError(f"{path} is damaged.")), path) == f"{path} is damaged."


def test_an_error_is_one_line() -> None:
    assert str(DataError("a\n\x1b[2Jb\u2028c \N{SNOWMAN}")) == "a\\n\\x1b[2Jb\\u2028c \N{SNOWMAN}"
    assert in_one_line("no change") == "no change"
    assert in_one_line("a" * 4000 + "b" * 4000) == "a" * 4000 + "b" * 800 + " ... " + "b" * 200


def test_names_in_an_archive_lead_nowhere(workspace: Path) -> None:
    with zipfile.ZipFile("faces.zip", "w") as archive:
        for number, name in enumerate(name for name in NAMES if name[0] != "\0"):
            archive.writestr(name, encoded("JPEG") + bytes(number))
    inside = Path("inside")
    inside.mkdir()
    shutil.move("faces.zip", inside / "faces.zip")
    succeed("prepare", "--celeba-dir", inside / "faces.zip", "-o", inside / "faces.h5")
    assert files() == ["inside"]
    assert files("inside") == ["faces.h5", "faces.zip"]


def test_a_folder_with_a_pipe_and_an_endless_device(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celeba, "_LARGEST", 1 << 22)
    folder = Path("faces")
    folder.mkdir()
    os.mkfifo(folder / "1.jpg")
    with pytest.raises(DataError) as error:
        prepare(folder)
    assert str(error.value) == (
        "None of the 1 images in faces could be read: 1.jpg is empty, where an image is expected."
    )
    (folder / "2.jpg").symlink_to("/dev/zero")
    with pytest.raises(DataError) as error:
        prepare(folder)
    assert str(error.value) == (
        "None of the 2 images in faces could be read: faces/2.jpg cannot be read: file too large."
    )
