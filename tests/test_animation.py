"""Animations: what was written is opened again, and ffmpeg is asked for the right thing."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import support
from facevae.config import PICTURE_FORMATS
from facevae.errors import DataError, FacevaeError, UsageError
from facevae.figures.animation import ANIMATION_SUFFIXES, animation_bytes, animation_of_suffix, there_and_back
from facevae.figures.canvas import BACKGROUND
from facevae.workflows.picture_format import resolve_picture

NO_FFMPEG = (
    "An MP4 needs the program ffmpeg, which is not installed or not on the PATH: install it, or use --format gif, webp or "
    "apng."
)

FAKE = """#!{python}
import json, pathlib, sys

folder = pathlib.Path(__file__).parent
folder.joinpath("arguments.json").write_text(json.dumps(sys.argv[1:]))
folder.joinpath("stdin").write_bytes(sys.stdin.buffer.read())
{what}
"""
WRITES = 'pathlib.Path(sys.argv[-1]).write_bytes(b"0000ftypfake")'

posix = pytest.mark.skipif(os.name == "nt", reason="a script is no program there")


def faces(count: int, size: int = 24) -> list[Image.Image]:
    return [Image.fromarray(face) for face in support.random_images(count, size)]


def reopened(data: bytes) -> list[NDArray[np.uint8]]:
    """The frames of an animation, each as often as it is shown: equal ones may be stored once."""
    shown = []
    with Image.open(io.BytesIO(data)) as animation:
        for number in range(getattr(animation, "n_frames", 1)):
            animation.seek(number)
            animation.load()
            shown += [np.array(animation.convert("RGB"))] * max(1, round(animation.info.get("duration", 80) / 80))
    return shown


# ------------------------------------------------------------------------------------------ through Pillow


@pytest.mark.parametrize(("name", "kind", "most"), [("gif", "GIF", 6.0), ("webp", "WEBP", 6.0), ("apng", "PNG", 0.0)])
def test_frames_come_back_and_loop_for_ever(name: str, kind: str, most: float) -> None:
    frames = [Image.fromarray(face) for face in support.drawn_faces(5, 48)]
    data = animation_bytes(frames, name)
    with Image.open(io.BytesIO(data)) as animation:
        assert (animation.format, animation.size, animation.info["loop"]) == (kind, (48, 48), 0)
        assert animation.n_frames == 5  # type: ignore[attr-defined]
    found = np.stack(reopened(data)).astype(int)
    expected = np.stack([np.array(frame) for frame in frames]).astype(int)
    assert np.abs(found - expected).mean(axis=(1, 2, 3)).max() <= most
    assert np.abs(expected[0] - expected[1]).mean() > 2 * most  # that of another frame would not pass


@pytest.mark.parametrize("name", ["gif", "apng"])
def test_each_frame_is_shown_equally_long(name: str) -> None:
    frames = [Image.new("RGB", (20, 10), (value, 0, 255 - value)) for value in (0, 100, 200)]
    with Image.open(io.BytesIO(animation_bytes(frames, name, milliseconds=120))) as found:
        for number, frame in enumerate(frames):
            found.seek(number)
            found.load()
            assert found.info["duration"] == 120
            difference = np.array(found.convert("RGB")).astype(int) - np.array(frame)
            assert np.abs(difference).max() <= 8


def test_webp_frames_are_shown_equally_long() -> None:
    """Pillow tells the time only after it has decoded the frame, so it is read from the file: 3 bytes of each ANMF chunk."""
    data = animation_bytes(faces(3), "webp", milliseconds=120)
    starts = [index for index in range(len(data)) if data[index : index + 4] == b"ANMF"]
    assert [int.from_bytes(data[start + 20 : start + 23], "little") for start in starts] == [120] * 3


@pytest.mark.parametrize("name", ["gif", "webp", "apng"])
def test_one_frame_will_do(name: str) -> None:
    assert [frame.shape for frame in reopened(animation_bytes(faces(1), name))] == [(24, 24, 3)]


def test_without_a_format_it_is_a_gif() -> None:
    assert animation_bytes(faces(2)).startswith(b"GIF89a")


def test_frames_larger_than_the_format_holds() -> None:
    frame = Image.new("RGB", (16_384, 2))
    with pytest.raises(UsageError) as error:
        animation_bytes([frame, frame], "webp")
    assert str(error.value) == (
        "An animation of 16384 x 2 pixels is too large for webp, which holds 16,383 a side: "
        "show fewer faces, or smaller ones with --scale."
    )
    assert reopened(animation_bytes([frame, frame], "apng"))[0].shape == (2, 16_384, 3)


def test_there_and_back_on_one_canvas() -> None:
    frames = [Image.new("RGB", (10 + number, 8), (number, 0, 0)) for number in range(4)]
    shown = there_and_back(frames)
    assert [frame.getpixel((0, 0)) for frame in shown] == [(number, 0, 0) for number in (0, 1, 2, 3, 2, 1)]
    assert {frame.size for frame in shown} == {(13, 8)}
    assert shown[0].getpixel((12, 0)) == BACKGROUND
    assert [len(there_and_back(frames[:count])) for count in (1, 2)] == [1, 2]


# ------------------------------------------------------------------------------------------ through ffmpeg


def put_ffmpeg(folder: Path, monkeypatch: pytest.MonkeyPatch, what: str = WRITES) -> Path:
    """Put a program named ffmpeg on the PATH that keeps what it is given; alone there, and without any other."""
    program = folder / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(FAKE.format(python=sys.executable, what=what))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return program


@posix
def test_ffmpeg_gets_raw_frames_of_even_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = put_ffmpeg(tmp_path, monkeypatch)
    frames = [frame.crop((0, 0, 21, 15)) for frame in faces(3)]
    assert animation_bytes(frames, "mp4", milliseconds=40) == b"0000ftypfake"
    arguments = json.loads(program.with_name("arguments.json").read_text())
    options = dict(pairwise(arguments))
    assert [options[name] for name in ("-f", "-pixel_format", "-video_size", "-framerate", "-i")] == [
        "rawvideo",
        "rgb24",
        "22x16",
        "1000/40",
        "pipe:0",
    ]
    assert options["-vf"].endswith("format=yuv420p")
    assert arguments[-1].endswith(".mp4")
    assert not Path(arguments[-1]).parent.exists()  # the temporary folder is gone
    raw = np.frombuffer(program.with_name("stdin").read_bytes(), dtype=np.uint8).reshape(3, 16, 22, 3)
    for found, frame in zip(raw, frames, strict=True):
        assert np.array_equal(found[:15, :21], np.array(frame))
        assert (found[15:] == BACKGROUND).all()
        assert (found[:, 21:] == BACKGROUND).all()


@posix
@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ('sys.exit("[libx264] cannot open.\\nConversion failed!")', "[libx264] cannot open"),
        ("sys.exit(3)", "exit code 3"),
        ("", "exit code 0"),
        ("pathlib.Path(sys.argv[-1]).touch()", "exit code 0"),
        ('print("x " * 300, file=sys.stderr); sys.exit(1)', ("x " * 100)),
    ],
)
def test_what_ffmpeg_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, reason: str) -> None:
    put_ffmpeg(tmp_path, monkeypatch, what)
    with pytest.raises(DataError) as error:
        animation_bytes(faces(2), "mp4")
    assert str(error.value) == f"ffmpeg could not make the MP4 ({reason}): use --format gif, webp or apng."


@posix
def test_an_ffmpeg_that_does_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given more than a pipe holds, and closes it."""
    program = put_ffmpeg(tmp_path, monkeypatch)
    program.write_text(f'#!{sys.executable}\nimport sys\nsys.exit("no space left")\n')
    with pytest.raises(DataError) as error:
        animation_bytes(faces(2, size=400), "mp4")
    assert str(error.value) == "ffmpeg could not make the MP4 (no space left): use --format gif, webp or apng."


@posix
def test_an_ffmpeg_that_cannot_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = put_ffmpeg(tmp_path, monkeypatch)
    program.write_text("#!/no/such/interpreter\n")
    with pytest.raises(DataError) as error:
        animation_bytes(faces(2), "mp4")
    assert str(error.value) == f"{program} cannot be run: no such file or directory."


def test_without_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError) as error:
        animation_bytes(faces(2), "mp4")
    assert str(error.value) == NO_FFMPEG


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_the_real_ffmpeg(tmp_path: Path) -> None:
    """Read back by itself, frame by frame."""
    frames = [Image.fromarray(face).crop((0, 0, 63, 48)) for face in support.drawn_faces(4, 64)]
    path = tmp_path / "a.mp4"
    path.write_bytes(animation_bytes(frames, "mp4"))
    command = ["ffmpeg", "-loglevel", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    found = np.frombuffer(raw, dtype=np.uint8).reshape(4, 48, 64, 3).astype(int)
    for number in range(4):
        differences = [np.abs(found[number, :, :63] - np.array(other)).mean() for other in frames]
        assert differences[number] < 4
        assert differences[number] == min(differences)


# ------------------------------------------------------------------------------------------ names and formats


@pytest.mark.parametrize(
    ("suffix", "name"),
    [(".gif", "gif"), (".GIF", "gif"), (".apng", "apng"), (".mp4", "mp4"), (".png", None), (".webp", None), ("", None)],
)
def test_a_suffix_says_an_animation_where_it_can_be_nothing_else(suffix: str, name: str | None) -> None:
    assert animation_of_suffix(suffix) == name


@pytest.fixture
def with_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_ffmpeg(tmp_path, monkeypatch)


@posix
@pytest.mark.usefixtures("with_ffmpeg")
@pytest.mark.parametrize(
    ("output", "given", "path", "found"),
    [
        (None, None, "walk.png", "png"),
        (None, "gif", "walk.gif", "gif"),
        (None, "webp", "walk.webp", "webp"),
        (None, "apng", "walk.apng", "apng"),
        (None, "mp4", "walk.mp4", "mp4"),
        ("a.png", None, "a.png", "png"),
        ("a.webp", None, "a.webp", "png"),
        ("a.jpg", None, "a.jpg", "png"),
        ("a.gif", None, "a.gif", "gif"),
        ("a.apng", None, "a.apng", "apng"),
        ("a.MP4", None, "a.MP4", "mp4"),
        ("a.png", "png", "a.png", "png"),
        ("a.png", "apng", "a.png", "apng"),
        ("a.webp", "webp", "a.webp", "webp"),
    ],
)
def test_file_and_format_settle_each_other(output: str | None, given: str | None, path: str, found: str) -> None:
    target = Path(output) if output else None
    assert resolve_picture(target, given, Path("walk.png")) == (Path(path), found)


@pytest.mark.parametrize("name", ["png", "gif", "webp", "apng"])
def test_a_stream_takes_every_format(name: str) -> None:
    stream = io.BytesIO()
    assert resolve_picture(stream, name, Path("walk.png")) == (stream, name)
    assert resolve_picture(stream, None, Path("walk.png")) == (stream, "png")


@pytest.mark.parametrize(
    ("output", "given", "message"),
    [
        (None, "jpg", "There is no format jpg: use png, gif, webp, apng or mp4."),
        ("a.gif", "apng", "a.gif does not go with --format apng: name a .apng or .png file."),
        ("a.apng", "png", "a.apng does not go with --format png: name a .png file."),
        ("a.webp", "gif", "a.webp does not go with --format gif: name a .gif file."),
        ("a.mov", "mp4", "a.mov does not go with --format mp4: name a .mp4 file."),
        (
            "a.avi",
            None,
            "Cannot write a picture to a.avi: its name must end in one of .png, .jpg, .jpeg, .webp, .tif, .tiff.",
        ),
        (None, "mp4", NO_FFMPEG),
        ("a.mp4", None, NO_FFMPEG),
    ],
)
def test_files_and_formats_that_contradict_each_other(
    output: str | None, given: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FacevaeError) as error:
        resolve_picture(Path(output) if output else None, given, Path("walk.png"))
    assert str(error.value) == message


def test_every_animation_has_a_suffix_of_its_own() -> None:
    assert list(PICTURE_FORMATS) == ["png", *ANIMATION_SUFFIXES]
    first = [suffixes[0] for suffixes in ANIMATION_SUFFIXES.values()]
    assert len(set(first)) == len(first)
