"""`faces.h5.unfinished`: whatever becomes of it, what is taken from it is what was put in."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevae.errors import DataError, UsageError
from facevae.storage.journal import MAGIC, Journal, Prepared, journal_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = 4
RECORD = {"image_size": SIZE, "resize_rule": "any"}
ROWS = (3, 1, 4, 2)
SKIPPED: tuple[list[tuple[int, str]], ...] = ([(1, "damaged: \N{SNOWMAN}")], [(0, "empty")], [(2, "a text")], [])
TOO_SMALL: tuple[list[int], ...] = ([], [], [0, 3], [1])
ALL_SKIPPED = [(1, "damaged: \N{SNOWMAN}"), (3, "empty"), (6, "a text")]
ALL_TOO_SMALL = [4, 7, 9]


def digest_of(start: int, stop: int) -> bytes:
    return hashlib.sha256(f"{start} {stop}".encode()).digest()


def batches() -> list[Prepared]:
    random = np.random.default_rng(0)
    prepared, start = [], 0
    for rows, skipped, too_small in zip(ROWS, SKIPPED, TOO_SMALL, strict=True):
        count = rows - len(skipped) - len(too_small)
        images = random.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
        prepared.append(Prepared(rows, skipped, images, digest_of(start, start + rows), too_small))
        start += rows
    return prepared


def all_images() -> NDArray[np.uint8]:
    return np.concatenate([batch.images for batch in batches()])


def fill(output: Path, count: int = len(ROWS)) -> bytes:
    """Write a journal of some batches, and return its bytes."""
    with Journal(output) as journal:
        journal.begin(RECORD, SIZE)
        for batch in batches()[:count]:
            journal.append(batch)
    return journal_path(output).read_bytes()


def images_of(journal: Journal, block: int = 4) -> NDArray[np.uint8]:
    blocks = [images.copy() for images in journal.images(block)]
    assert all(len(images) == block for images in blocks[:-1])
    return np.concatenate([np.empty((0, SIZE, SIZE, 3), np.uint8), *blocks])


@pytest.mark.parametrize("block", [1, 2, 3, 8, 100])
def test_what_was_put_in_comes_out(tmp_path: Path, block: int) -> None:
    fill(tmp_path / "faces.h5")
    with Journal(tmp_path / "faces.h5") as journal:
        assert journal.found
        assert journal.resume(RECORD, SIZE, digest_of)
        assert (journal.rows, journal.faces) == (10, 4)
        assert (journal.skipped, journal.too_small) == (ALL_SKIPPED, ALL_TOO_SMALL)
        assert np.array_equal(images_of(journal, block), all_images())


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = fill(tmp_path / "whole.h5")
    fill(tmp_path / "faces.h5", 2)
    with Journal(tmp_path / "faces.h5") as journal:
        assert journal.resume(RECORD, SIZE, digest_of)
        for batch in batches()[2:]:
            journal.append(batch)
        assert (journal.skipped, journal.too_small) == (ALL_SKIPPED, ALL_TOO_SMALL)
        assert np.array_equal(images_of(journal), all_images())
    assert (tmp_path / "faces.h5.unfinished").read_bytes() == whole


def resumed(output: Path) -> tuple[int, NDArray[np.uint8], list[tuple[int, str]], list[int]]:
    """What a run that comes upon the journal takes over: as many rows as it says, of the right images."""
    with Journal(output) as journal:
        if not journal.resume(RECORD, SIZE, digest_of):
            return 0, np.empty((0, SIZE, SIZE, 3), np.uint8), [], []
        return journal.rows, images_of(journal), journal.skipped, journal.too_small


def good_prefix(records: int) -> tuple[int, int, list[tuple[int, str]], list[int]]:
    """Rows, images, skipped and too small of the first records."""
    rows = sum(ROWS[:records])
    skipped = [one for one in ALL_SKIPPED if one[0] < rows]
    too_small = [row for row in ALL_TOO_SMALL if row < rows]
    return rows, rows - len(skipped) - len(too_small), skipped, too_small


def check_prefix(output: Path) -> int:
    """Check that what is taken over is the first records, whole, and return how many."""
    rows, images, skipped, too_small = resumed(output)
    records = next(number for number in range(len(ROWS) + 1) if good_prefix(number)[0] == rows)
    assert (rows, len(images), skipped, too_small) == good_prefix(records)
    assert np.array_equal(images, all_images()[: len(images)])
    return records


def record_ends(tmp_path: Path) -> list[int]:
    return [len(fill(tmp_path / f"{count}.h5", count)) for count in range(1, len(ROWS) + 1)]


def test_a_journal_cut_off_anywhere_keeps_its_whole_records(tmp_path: Path) -> None:
    ends = record_ends(tmp_path)
    data = fill(tmp_path / "faces.h5")
    for length in range(len(data)):
        (tmp_path / "faces.h5.unfinished").write_bytes(data[:length])
        assert check_prefix(tmp_path / "faces.h5") == sum(end <= length for end in ends)


@given(place=st.integers(0), value=st.integers(1, 255), length=st.integers(1, 300))
def test_a_changed_journal_keeps_what_lies_before(
    place: int, value: int, length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As after a power cut, which may leave zeros, or whatever was there."""
    folder = tmp_path_factory.mktemp("journal")
    ends = record_ends(folder)
    data = bytearray(fill(folder / "faces.h5"))
    place = len(MAGIC) + place % (len(data) - len(MAGIC))
    stop = min(place + length, len(data))
    data[place:stop] = bytes(byte ^ value for byte in data[place:stop])
    (folder / "faces.h5.unfinished").write_bytes(data)
    assert check_prefix(folder / "faces.h5") == (sum(end <= place for end in ends))


@given(rubbish=st.binary(max_size=400))
def test_rubbish_behind_the_records_is_cut_off(rubbish: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    output = tmp_path_factory.mktemp("journal") / "faces.h5"
    data = fill(output, 3)
    journal_path(output).write_bytes(data + rubbish)
    assert check_prefix(output) == 3
    assert journal_path(output).read_bytes() == data


def test_other_options_or_sources_are_not_gone_on_with(tmp_path: Path) -> None:
    output = tmp_path / "faces.h5"
    fill(output)
    with Journal(output) as journal:
        assert not journal.resume({**RECORD, "resize_rule": "another"}, SIZE, digest_of)
        assert not journal.resume(RECORD, SIZE, lambda start, stop: digest_of(start + 1, stop))
    fill(output)
    with Journal(output) as journal:  # the third record is of other files than now
        assert journal.resume(RECORD, SIZE, lambda start, stop: digest_of(start, stop) if start < 4 else b"")
        assert journal.rows == 4
        assert np.array_equal(images_of(journal), all_images()[:2])


def test_beginning_anew_forgets_what_was_there(tmp_path: Path) -> None:
    fill(tmp_path / "faces.h5")
    data = fill(tmp_path / "faces.h5", 1)
    assert data == fill(tmp_path / "other.h5", 1)


def test_without_a_face_it_goes_away(tmp_path: Path) -> None:
    with Journal(tmp_path / "faces.h5") as journal:
        assert not journal.found
        journal.begin(RECORD, SIZE)
        journal.append(Prepared(1, [(0, "empty")], np.empty((0, SIZE, SIZE, 3), np.uint8), digest_of(0, 1)))
    assert list(tmp_path.iterdir()) == []


def test_opened_for_nothing_it_goes_away(tmp_path: Path) -> None:
    Journal(tmp_path / "faces.h5").close()
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_run_left_stays_when_nothing_was_begun(tmp_path: Path) -> None:
    data = fill(tmp_path / "faces.h5")
    Journal(tmp_path / "faces.h5").close()
    assert (tmp_path / "faces.h5.unfinished").read_bytes() == data


def test_removing(tmp_path: Path) -> None:
    fill(tmp_path / "faces.h5")
    with Journal(tmp_path / "faces.h5") as journal:
        journal.resume(RECORD, SIZE, digest_of)
        journal.remove()
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------- where it lies, and what it refuses


def test_it_lies_beside_what_the_output_links_to(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "faces.h5").symlink_to(tmp_path / "disk" / "real.h5")
    assert journal_path(tmp_path / "faces.h5") == tmp_path / "disk" / "real.h5.unfinished"


def test_a_long_name_is_shortened(tmp_path: Path) -> None:
    first, second = (journal_path(tmp_path / ("\N{SNOWMAN}" * 84 + letter)) for letter in "ab")
    assert first != second
    assert len(os.fsencode(first.name)) <= 255
    assert first.name.startswith("\N{SNOWMAN}" * 40 + "-")


@pytest.mark.parametrize("content", [b"My notes on unfinished faces", b"facevae unfinished business"])
def test_a_file_of_someone_elses_is_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "faces.h5.unfinished"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        Journal(tmp_path / "faces.h5")
    assert str(caught.value) == f"{path} is not what an unfinished run left: move it away, or name another output."
    assert path.read_bytes() == content


def test_a_pipe_and_a_folder_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "faces.h5.unfinished"
    os.mkfifo(path)
    with pytest.raises(UsageError) as caught:
        Journal(tmp_path / "faces.h5")
    assert str(caught.value) == f"{path} is not what an unfinished run left: move it away, or name another output."
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError) as error:
        Journal(tmp_path / "faces.h5")
    assert str(error.value) == f"{path} cannot be written: is a directory."


@pytest.mark.parametrize("length", [0, 5, len(MAGIC), len(MAGIC) + 9])
def test_a_journal_that_ends_in_its_first_line_is_begun_anew(length: int, tmp_path: Path) -> None:
    data = fill(tmp_path / "faces.h5")
    (tmp_path / "faces.h5.unfinished").write_bytes(data[:length])
    assert check_prefix(tmp_path / "faces.h5") == 0
    assert fill(tmp_path / "faces.h5") == data


def test_two_runs_at_once(tmp_path: Path) -> None:
    output = tmp_path / "faces.h5"
    with Journal(output) as journal:
        journal.begin(RECORD, SIZE)
        with pytest.raises(DataError) as caught:
            Journal(output)
        assert str(caught.value) == (
            f"Another facevae prepare is writing {output}: wait for it, or name another output with -o."
        )
        journal.append(batches()[0])
    assert check_prefix(output) == 1


def test_the_lock_of_a_killed_process_holds_nobody_up(tmp_path: Path) -> None:
    output = tmp_path / "faces.h5"
    script = (
        "import os, sys, signal; from pathlib import Path; from facevae.storage.journal import Journal\n"
        f"journal = Journal(Path({str(output)!r})); journal.begin({{}}, 4); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    assert (tmp_path / "faces.h5.unfinished").exists()
    fill(output)


def test_a_full_disk_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system takes half of the record, and then no more."""
    output = tmp_path / "faces.h5"
    before = fill(tmp_path / "other.h5", 1)
    with Journal(output) as journal:
        journal.begin(RECORD, SIZE)
        first, second = batches()[:2]
        journal.append(first)
        write = journal._file.write
        answers = iter([lambda data: write(data[:30])])

        def full(data: memoryview) -> int:
            answer = next(answers, None)
            if answer is None:
                raise OSError(28, "No space left on device")
            return answer(data) or 0

        monkeypatch.setattr(journal, "_file", _Replaced(journal._file, full))
        with pytest.raises(DataError) as caught:
            journal.append(second)
        assert str(caught.value) == f"{output}.unfinished cannot be written: no space left on device."
    assert (tmp_path / "faces.h5.unfinished").read_bytes() == before


class _Replaced:
    """A file with another `write`."""

    def __init__(self, file: object, write: object) -> None:
        self._replaced, self.write = file, write

    def __getattr__(self, name: str) -> object:
        return getattr(self._replaced, name)


@pytest.mark.parametrize(
    "left_out",
    [
        b"[" * 100_000,
        b"[[[0], null]]",
        b'[["a", "b"]]',
        b"[[0, 1]]",
        b"[[7, null]]",
        b"[[-1, null]]",
        b"[[0, null], [0, null]]",
    ],
)
def test_places_that_are_none(tmp_path: Path, left_out: bytes) -> None:
    """In a record whose check sum is right."""
    import zlib

    from facevae.storage import journal as module

    output = tmp_path / "faces.h5"
    data = fill(output, 1)
    start = data.index(b"FVR1")
    _, rows, length, _, digest = module._HEAD.unpack_from(data, start)
    images = data[start + module._HEAD.size + length :]
    check = zlib.crc32(images, module._check(rows, digest, left_out))
    head = module._HEAD.pack(b"FVR1", rows, len(left_out), check, digest)
    journal_path(output).write_bytes(data[:start] + head + left_out + images)
    with Journal(output) as journal:
        assert not journal.resume(RECORD, SIZE, digest_of)
        journal.begin(RECORD, SIZE)
