"""`prepare` stopped in every way there is, and started again: the file is that of a run that nobody stopped."""

from __future__ import annotations

import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facevae.drawing import ATTRIBUTE_NAMES, draw_face, write_drawn_faces
from facevae.drawing.dataset import drawn_traits
from facevae.errors import DataError, UsageError
from facevae.progress import Event, Progress
from facevae.storage.faces import Faces, expected_size
from facevae.storage.images import load_face
from facevae.storage.journal import Journal
from facevae.workflows import decoding
from facevae.workflows.prepare import _block, prepare
from helpers import files, refusal, run, succeed
from support import Recorder

COUNT = 40


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawn_faces(tmp_path_factory.mktemp("drawn"), COUNT)


@pytest.fixture
def celeba(drawn: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty drawn faces, two of them damaged, of which a thread takes three at a time."""
    monkeypatch.setattr(decoding, "_ROWS", 3)
    shutil.copytree(drawn, workspace / "data")
    for number in (5, 22):
        (workspace / "data" / "img_align_celeba" / f"{number:06}.jpg").write_bytes(b"")
    return Path("data")


@pytest.fixture
def whole(celeba: Path) -> bytes:
    """The file of a run that nobody stopped."""
    prepare(celeba, "whole.h5")
    return Path("whole.h5").read_bytes()


class Stopping(Recorder):
    """A `report` that breaks the run off once so many images are done."""

    def __init__(self, at: int, stage: str = "prepare", error: type[BaseException] = KeyboardInterrupt) -> None:
        super().__init__()
        self._at, self._stage, self._error = at, stage, error

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event, Progress) and event.stage == self._stage and event.done >= self._at:
            raise self._error


def stop(celeba: Path, at: int = 12, stage: str = "prepare", **options: object) -> list[str]:
    """Stop a run once so many images are done, and return its notices."""
    report = Stopping(at, stage)
    with pytest.raises(KeyboardInterrupt):
        prepare(celeba, report=report, **options)  # type: ignore[arg-type]
    return report.notices


def rerun(celeba: Path, **options: object) -> list[str]:
    """Run to the end and return the notices."""
    report = Recorder()
    prepare(celeba, report=report, **options)  # type: ignore[arg-type]
    return report.notices


SKIPPED = [
    "Skipped 2 images (--strict makes this an error):",
    "  000005.jpg is empty, where an image is expected.",
    "  000022.jpg is empty, where an image is expected.",
]
KEPT = "12 of 40 images are prepared and kept in faces.h5.unfinished: the same command goes on from there."
GOING_ON = "Going on with the 12 images that an earlier run had prepared."
ANEW = "faces.h5.unfinished is of other images or options: starting anew."


def test_a_stopped_run_goes_on_and_ends_with_the_same_file(celeba: Path, whole: bytes) -> None:
    assert stop(celeba) == [KEPT]
    assert files() == ["data", "faces.h5.unfinished", "whole.h5"]
    assert rerun(celeba) == [GOING_ON, *SKIPPED]
    assert Path("faces.h5").read_bytes() == whole
    assert files() == ["data", "faces.h5", "whole.h5"]


def test_what_an_earlier_run_did_is_not_done_again(celeba: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop(celeba)
    read: list[str] = []

    def noted(data: bytes, size: int, name: str) -> bytes:
        read.append(name)
        return load_face(data, size, name).tobytes()

    monkeypatch.setattr(decoding, "load_face_bytes", noted)
    prepare(celeba, jobs=1)
    assert read == [f"{number:06}.jpg" for number in range(13, COUNT + 1)]


@pytest.mark.parametrize("at", range(3, COUNT, 3))
def test_stopped_again_and_again(at: int, celeba: Path, whole: bytes) -> None:
    """Each run does three images more than the one before, from any of them on."""
    for done in range(at, COUNT, 9):
        stop(celeba, done)
    prepare(celeba)
    assert Path("faces.h5").read_bytes() == whole


def test_stopped_while_the_file_was_written(celeba: Path, whole: bytes) -> None:
    assert stop(celeba, 1, "write") == [KEPT.replace("12 of", "40 of")]
    assert files() == ["data", "faces.h5.unfinished", "whole.h5"]
    assert rerun(celeba) == [GOING_ON.replace("12", "40"), *SKIPPED]
    assert Path("faces.h5").read_bytes() == whole


def test_an_earlier_file_stays_until_the_new_one_is_whole(celeba: Path, whole: bytes) -> None:
    prepare(celeba, limit=7)
    before = Path("faces.h5").read_bytes()
    stop(celeba)
    assert Path("faces.h5").read_bytes() == before
    prepare(celeba)
    assert Path("faces.h5").read_bytes() == whole


def test_restart_begins_anew(celeba: Path, whole: bytes) -> None:
    stop(celeba)
    assert rerun(celeba, restart=True) == SKIPPED
    assert Path("faces.h5").read_bytes() == whole


@pytest.mark.parametrize("options", [{"size": 16}, {"size": 33}, {"limit": 20}], ids=str)
def test_other_options_begin_anew(options: dict[str, int], celeba: Path) -> None:
    stop(celeba)
    assert ANEW in rerun(celeba, **options)
    prepare(celeba, "whole.h5", **options)  # type: ignore[arg-type]
    assert Path("faces.h5").read_bytes() == Path("whole.h5").read_bytes()


@pytest.fixture
def small(celeba: Path) -> Path:
    """Every third face has 64 x 64 pixels: 13 of the 38 that can be read."""
    for number in range(3, COUNT + 1, 3):
        path = celeba / "img_align_celeba" / f"{number:06}.jpg"
        with Image.open(path) as image:
            image.resize((64, 64)).save(path)
    return celeba


TOO_SMALL = "13 images with a side of less than 65 pixels were left out (--min-side)."


@pytest.mark.parametrize("at", [3, 12, 21, 39])
def test_a_stopped_run_goes_on_with_the_same_smallest_side(at: int, small: Path) -> None:
    expected = prepare(small, "whole.h5", min_side=65)
    assert (expected.count, expected.too_small, len(expected.skipped)) == (25, 13, 2)
    stop(small, at, min_side=65)
    report = Recorder()
    result = prepare(small, min_side=65, report=report)
    assert report.notices == [GOING_ON.replace("12", str(at)), TOO_SMALL, *SKIPPED]
    assert (result.count, result.too_small, result.skipped) == (25, 13, expected.skipped)
    assert Path("faces.h5").read_bytes() == Path("whole.h5").read_bytes()


def test_small_images_alone_are_nothing_to_go_on_with(small: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepare(small, min_side=300)
    assert str(caught.value) == (
        "None of the 38 images in data/img_align_celeba that could be read has sides of at least 300 pixels: "
        "give a smaller --min-side, or leave it out."
    )
    assert files() == ["data"]


@pytest.mark.parametrize(("before", "after"), [(65, 64), (None, 65), (65, None)])
def test_another_smallest_side_begins_anew(before: int | None, after: int | None, small: Path) -> None:
    stop(small, min_side=before)
    assert rerun(small, min_side=after) == [ANEW, *([TOO_SMALL] if after == 65 else []), *SKIPPED]
    prepare(small, "whole.h5", min_side=after)
    assert Path("faces.h5").read_bytes() == Path("whole.h5").read_bytes()


def test_a_limit_above_all_is_none(celeba: Path, whole: bytes) -> None:
    stop(celeba)
    assert rerun(celeba, limit=1000) == [GOING_ON, *SKIPPED]
    assert Path("faces.h5").read_bytes() == whole


def test_another_version_begins_anew(celeba: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop(celeba)
    monkeypatch.setattr("facevae.workflows.prepare.DECODER", "Pillow 1.0, JPEG 9.9")
    assert rerun(celeba) == [ANEW, *SKIPPED]


def change_size(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def change_time(path: Path) -> None:
    os.utime(path, (1, 1))


def change_name(path: Path) -> None:
    path.rename(path.with_name("000013a.jpg"))


@pytest.mark.parametrize("change", [change_size, change_time])
def test_a_changed_image_is_prepared_anew_with_all_that_follow(change: Callable[[Path], None], celeba: Path) -> None:
    stop(celeba)
    change(celeba / "img_align_celeba" / "000008.jpg")
    assert rerun(celeba) == [GOING_ON.replace("12", "6"), *SKIPPED]


def test_a_changed_image_that_was_not_reached_matters_to_nobody(celeba: Path) -> None:
    stop(celeba)
    shutil.copy(celeba / "img_align_celeba" / "000001.jpg", celeba / "img_align_celeba" / "000022.jpg")
    assert rerun(celeba) == [GOING_ON, "Skipped 1 image (--strict makes this an error):", SKIPPED[1]]
    with Faces(Path("faces.h5")) as faces:
        assert np.array_equal(faces.read(20, 21)[0], faces.read(0, 1)[0])


def test_an_image_that_was_mended_is_taken(celeba: Path) -> None:
    stop(celeba)
    shutil.copy(celeba / "img_align_celeba" / "000001.jpg", celeba / "img_align_celeba" / "000005.jpg")
    assert rerun(celeba) == [
        GOING_ON.replace("12", "3"),
        "Skipped 1 image (--strict makes this an error):",
        SKIPPED[2],
    ]


def test_another_archive_begins_anew(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an archive the check sums count, not its time."""
    monkeypatch.setattr(decoding, "_ROWS", 3)

    def put(first: int) -> None:
        with zipfile.ZipFile("faces.zip", "w") as archive:
            for number in range(first, first + 12):
                stream = io.BytesIO()
                draw_face(drawn_traits(1, number)).save(stream, "JPEG")
                archive.writestr(f"{number - first:03}.jpg", stream.getvalue())

    put(1)
    stop(Path("faces.zip"), 6)
    os.utime("faces.zip", (1, 1))
    assert "Going on with the 6 images that an earlier run had prepared." in rerun(Path("faces.zip"))
    stop(Path("faces.zip"), 6)
    put(2)
    assert ANEW in rerun(Path("faces.zip"))


def test_the_tables_of_the_last_run_count(celeba: Path) -> None:
    """They are joined to the images at the end: corrected ones cost nobody the images that are done."""
    stop(celeba, attributes=False)
    partition = celeba / "list_eval_partition.txt"
    partition.write_text("".join(f"{number:06}.jpg {number % 3}\n" for number in range(1, COUNT + 1)))
    assert rerun(celeba) == [GOING_ON, *SKIPPED]
    with Faces(Path("faces.h5")) as faces:
        assert faces.attribute_names == ATTRIBUTE_NAMES
        assert faces.split.tolist() == [int(name[:6]) % 3 for name in faces.names]


def test_strict_goes_on_as_far_as_the_damaged_image(celeba: Path) -> None:
    sentence = "000022.jpg is empty, where an image is expected."
    (celeba / "img_align_celeba" / "000005.jpg").write_bytes((celeba / "img_align_celeba" / "000004.jpg").read_bytes())
    report = Recorder()
    for already in (False, True):
        with pytest.raises(DataError) as caught:
            prepare(celeba, strict=True, report=report)
        assert str(caught.value) == sentence
        assert files() == ["data", "faces.h5.unfinished"]
        kept = "21 of 40 images are prepared and kept in faces.h5.unfinished: the same command goes on from there."
        assert report.notices[-1] == kept
        assert ("Going on with the 21 images that an earlier run had prepared." in report.notices) == already
    shutil.copy(celeba / "img_align_celeba" / "000001.jpg", celeba / "img_align_celeba" / "000022.jpg")
    assert prepare(celeba, strict=True).count == COUNT


def test_strict_is_told_of_what_an_earlier_run_skipped(celeba: Path) -> None:
    stop(celeba)
    with pytest.raises(DataError) as caught:
        prepare(celeba, strict=True)
    assert str(caught.value) == "000005.jpg is empty, where an image is expected."


def test_one_run_at_a_time(celeba: Path) -> None:
    stop(celeba)
    with Journal(Path("faces.h5")):
        assert refusal("prepare", "--celeba-dir", celeba) == (
            "Another facevae prepare is writing faces.h5: wait for it, or name another output with -o."
        )
        succeed("prepare", "--celeba-dir", celeba, "-q", "-o", "other.h5")
    assert files() == ["data", "faces.h5.unfinished", "other.h5"]
    assert rerun(celeba)[0] == GOING_ON


def test_a_disk_without_room_for_the_file(celeba: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage, size = shutil.disk_usage("."), expected_size(32, ["000001.jpg"] * 38, 40)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
        outcome = run("prepare", "--celeba-dir", celeba)
    assert (outcome.code, outcome.stderr) == (
        1,
        KEPT.replace("12 of", "40 of")
        + f"\nError: faces.h5 cannot be written: it takes {size / 1e6:.1f} MB, and its disk has 0.0 MB left.\n",
    )
    assert succeed("prepare", "--celeba-dir", celeba).lines == ["faces.h5"]


# ------------------------------------------------------------------------------- jobs, progress, memory


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_the_number_of_jobs_changes_nothing(jobs: int, celeba: Path, whole: bytes) -> None:
    succeed("prepare", "--celeba-dir", celeba, "--jobs", jobs)
    assert Path("faces.h5").read_bytes() == whole


@pytest.mark.parametrize("jobs", [0, -1, 1025])
def test_numbers_of_jobs_that_are_refused(jobs: int, celeba: Path) -> None:
    with pytest.raises(UsageError) as caught:
        prepare(celeba, jobs=jobs)
    assert str(caught.value) == f"A number of {jobs} jobs is out of range: use a whole number from 1 to 1024."


def test_progress_counts_all_images_and_tells_the_speed(celeba: Path) -> None:
    report = Recorder()
    prepare(celeba, report=report)
    stages = [event for event in report.progress if event.stage == "prepare"]
    assert [event.done for event in stages] == [*range(3, COUNT, 3), COUNT]
    assert {event.total for event in stages} == {COUNT}
    assert all(event.values["images/s"] > 0 for event in stages)
    assert [(event.done, event.total) for event in report.progress if event.stage == "write"] == [(38, 38)]


def test_a_run_that_goes_on_counts_from_where_it_was(celeba: Path) -> None:
    stop(celeba)
    report = Recorder()
    prepare(celeba, report=report)
    assert [event.done for event in report.progress][:2] == [12, 15]


def test_few_images_are_in_memory_at_once(celeba: Path) -> None:
    """No more than four batches for each thread are in work or waiting, however far decoding could go ahead."""
    begun: list[str] = []

    class Reader:
        def stamp(self, name: str) -> str:
            begun.append(name)
            return ""

        def read(self, name: str) -> bytes:
            return b""

    names = [str(number) for number in range(300)]
    for number, batch in enumerate(decoding.decode_faces(Reader(), names, 16, 2)):
        time.sleep(0.001)
        assert batch.rows == 3
        assert len(begun) <= 3 * (number + 8)
    assert sorted(begun) == sorted(names)


@pytest.mark.parametrize(
    ("size", "block"),
    [(16, 1024), (32, 1024), (33, 1024), (64, 640), (96, 256), (128, 128), (149, 125), (256, 42), (511, 10), (512, 10)],
)
def test_blocks_of_the_file_are_whole_chunks_where_that_is_not_too_much(size: int, block: int) -> None:
    assert _block(size) == block


# ------------------------------------------------------------------------------- real processes, really killed


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,500 pictures in an archive, of which every hundredth is damaged: under a second of decoding."""
    streams = [io.BytesIO() for _ in range(10)]
    for number, stream in enumerate(streams, start=1):
        draw_face(drawn_traits(0, number)).save(stream, "JPEG", quality=95)
    path = tmp_path_factory.mktemp("archive") / "faces.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        for number in range(1500):
            picture = streams[number % 10].getvalue()
            zipped.writestr(f"{number:05}.jpg", picture if number % 100 != 50 else picture[: 10 * (number % 90)])
    return path


@pytest.fixture(scope="module")
def archive_whole(archive: Path) -> bytes:
    """What a run that nobody stopped makes of it, with the same command."""
    folder = archive.with_name("whole")
    folder.mkdir()
    command = [sys.executable, "-m", "facevae", "prepare", "--celeba-dir", str(archive)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return (folder / "faces.h5").read_bytes()


def start(archive: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "facevae", "prepare", "--celeba-dir", str(archive), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stop_at(process: subprocess.Popen[str], size: int, number: signal.Signals) -> bool:
    """Send the signal once the unfinished file has grown to `size` bytes; return whether the process still ran."""
    path = Path("faces.h5.unfinished")
    while process.poll() is None:
        try:
            if path.stat().st_size >= size:
                process.send_signal(number)
                break
        except FileNotFoundError:
            pass
        time.sleep(0.002)
    process.wait()
    return process.returncode != 0


def finish(archive: Path) -> str:
    process = start(archive)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    return stderr


def test_killed_and_killed_and_done(archive: Path, archive_whole: bytes, workspace: Path) -> None:
    chance = random.Random(0)
    sizes = sorted(chance.randrange(1, 1480 * 3072) for _ in range(3))
    for size in sizes:
        with start(archive, "-q") as process:
            assert stop_at(process, size, signal.SIGKILL)
            assert process.returncode == -signal.SIGKILL
        assert files() == ["faces.h5.unfinished"]
    assert "Going on with the " in finish(archive)
    assert Path("faces.h5").read_bytes() == archive_whole
    assert files() == ["faces.h5"]


def test_killed_while_the_file_was_written(archive: Path, archive_whole: bytes, workspace: Path) -> None:
    script = (
        "import os, signal, sys, facevae\n"
        "def report(event):\n"
        "    if getattr(event, 'stage', '') == 'write':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "facevae.prepare(sys.argv[1], report=report)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(archive)]).returncode == -signal.SIGKILL
    assert len(files()) == 2  # the hidden half of a file too, which the next run removes
    assert "Going on with the 1,500 images that an earlier run had prepared.\n" in finish(archive)
    assert Path("faces.h5").read_bytes() == archive_whole
    assert files() == ["faces.h5"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number: signal.Signals, archive: Path, archive_whole: bytes, workspace: Path) -> None:
    with start(archive) as process:
        assert stop_at(process, 600 * 3072, number)
        assert process.returncode == 130
        assert process.stdout is not None
        assert process.stderr is not None
        lines = process.stderr.read().splitlines()
        assert process.stdout.read() == ""
    assert lines[-1] == "Interrupted."
    done = int(lines[-2].partition(" of ")[0].replace(",", ""))
    assert 600 <= done < 1500
    assert lines[-2] == (
        f"{done:,} of 1,500 images are prepared and kept in faces.h5.unfinished: the same command goes on from there."
    )
    assert f"Going on with the {done:,} images that an earlier run had prepared.\n" in finish(archive)
    assert Path("faces.h5").read_bytes() == archive_whole


@pytest.mark.parametrize(
    ("megabytes", "what"), [(2, "faces.h5.unfinished"), (4.6, "faces.h5")], ids=["unfinished", "finished"]
)
def test_a_disk_that_fills_up(
    megabytes: float, what: str, archive: Path, archive_whole: bytes, workspace: Path
) -> None:
    """The limit of a file's size stands in for the disk's: the system refuses to write more, in the middle of a record."""
    limit = int(megabytes * 1_000_000)
    script = (
        "import resource, sys; from facevae.cli.main import app\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {resource.RLIM_INFINITY}))\n"
        "app(['prepare', '--celeba-dir', sys.argv[1]])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(archive)], capture_output=True, text=True)
    assert done.returncode == 1
    notice, error = done.stderr.splitlines()[-2:]
    assert notice.endswith("images are prepared and kept in faces.h5.unfinished: the same command goes on from there.")
    assert error == f"Error: {what} cannot be written: file too large."
    assert files() == ["faces.h5.unfinished"]
    assert f"Going on with the {notice.partition(' of ')[0]} images" in finish(archive)
    assert Path("faces.h5").read_bytes() == archive_whole


@pytest.mark.slow
def test_killed_twenty_times_at_any_moment(archive: Path, archive_whole: bytes, workspace: Path) -> None:
    """From the start of Python to the end of the writing, as chance has it; then all over again until twenty are killed."""
    chance = random.Random(1)
    killed = finished = 0
    while killed < 20:
        process = start(archive)
        try:
            process.communicate(timeout=chance.uniform(0, 2.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
        else:
            assert process.returncode == 0
            assert Path("faces.h5").read_bytes() == archive_whole
            Path("faces.h5").unlink()
            finished += 1
    finish(archive)
    assert Path("faces.h5").read_bytes() == archive_whole
    assert files() == ["faces.h5"]
