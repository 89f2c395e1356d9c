"""Turning frames into the bytes of an animation: GIF, animated WebP and PNG with Pillow, MP4 with the program ffmpeg."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageOps

from facevae.errors import DataError, UsageError
from facevae.figures.canvas import BACKGROUND
from facevae.temporary import temporary_folder

ANIMATION_SUFFIXES: dict[str, tuple[str, ...]] = {
    "gif": (".gif",),
    "webp": (".webp",),
    "apng": (".apng", ".png"),
    "mp4": (".mp4",),
}
"""Each format with the suffixes that its files may have, the usual one first."""

_LONGEST_SIDE = {"gif": 65_535, "webp": 16_383}
"""In pixels; an APNG holds more than facevae makes, and of an MP4 ffmpeg knows."""


def animation_of_suffix(suffix: str) -> str | None:
    """Return the format that a suffix stands for, None for those of still pictures: `.png` and `.webp` may be either."""
    usual = {suffixes[0]: name for name, suffixes in ANIMATION_SUFFIXES.items() if name != "webp"}
    return usual.get(suffix.lower())


def check_animation(picture_format: str) -> None:
    """Raise a `DataError` unless this machine can write that format: an MP4 needs ffmpeg."""
    if picture_format == "mp4":
        _ffmpeg()


def there_and_back(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Return frames of one size that go forth and back, ready for a loop: neither end is shown twice."""
    size = max(frame.width for frame in frames), max(frame.height for frame in frames)
    forth = []
    for frame in frames:
        canvas = Image.new("RGB", size, BACKGROUND)
        canvas.paste(frame, (0, 0))
        forth.append(canvas)
    return forth + forth[-2:0:-1]


def animation_bytes(frames: Sequence[Image.Image], picture_format: str = "gif", *, milliseconds: int = 80) -> bytes:
    """Return RGB frames of one size as an animation, each shown for `milliseconds`; all but an MP4 loop endlessly.

    Args:
        frames: at least one.
        picture_format: "gif" (256 colours for all frames together), "webp", "apng" (exact, and the largest) or "mp4".
        milliseconds: how long a frame is shown.

    Raises:
        DataError: ffmpeg is missing, or failed.
        UsageError: the frames are larger than the format holds.
    """
    width, height = frames[0].size
    most = _LONGEST_SIDE.get(picture_format, max(width, height))
    if max(width, height) > most:
        raise UsageError(
            f"An animation of {width} x {height} pixels is too large for {picture_format}, which holds {most:,} a side: "
            "show fewer faces, or smaller ones with --scale."
        )
    if picture_format == "mp4":
        return _mp4(frames, milliseconds)
    options: dict[str, Any] = {"save_all": True, "duration": milliseconds, "loop": 0}
    if picture_format == "gif":
        frames = _with_one_palette(frames)
        options |= {"format": "GIF", "optimize": False}
    elif picture_format == "webp":
        options |= {"format": "WEBP", "quality": 90}
    else:
        options |= {"format": "PNG"}
    buffer = io.BytesIO()
    frames[0].save(buffer, append_images=frames[1:], **options)
    return buffer.getvalue()


def _with_one_palette(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Reduce the frames to 256 colours, chosen for all of them: a palette for each would make the colours flicker."""
    widest = Image.new("RGB", (frames[0].width, sum(frame.height for frame in frames)))
    for number, frame in enumerate(frames):
        widest.paste(frame, (0, number * frames[0].height))
    palette = widest.quantize(256, method=Image.Quantize.MEDIANCUT)
    return [frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames]


def _mp4(frames: Sequence[Image.Image], milliseconds: int) -> bytes:
    """Let ffmpeg encode raw frames from its standard input, with the codec that it prefers for MP4 (H.264, if it has it)."""
    program = _ffmpeg()
    # Each colour sample of yuv420p stands for two by two pixels.
    even = [ImageOps.expand(frame, (0, 0, frame.width % 2, frame.height % 2), BACKGROUND) for frame in frames]
    raw = b"".join(frame.tobytes() for frame in even)
    with temporary_folder() as folder:
        # An MP4 is not written from front to back, so it cannot come through a pipe.
        target = folder / "animation.mp4"
        command = [program, *_ffmpeg_options(even[0].size, milliseconds), str(target)]
        try:
            done = subprocess.run(command, input=raw, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        except OSError as error:
            raise DataError(f"{program} cannot be run: {(error.strerror or str(error)).lower()}.") from error
        if done.returncode or not target.is_file() or not target.stat().st_size:
            raise DataError(f"ffmpeg could not make the MP4 ({_first_words(done)}): use --format gif, webp or apng.")
        return target.read_bytes()


def _ffmpeg_options(size: tuple[int, int], milliseconds: int) -> list[str]:
    width, height = size
    return [
        *("-hide_banner", "-loglevel", "error", "-y"),
        *("-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"),
        *("-framerate", f"1000/{milliseconds}", "-i", "pipe:0"),
        # Every player knows yuv420p. The matrix is named, for of an unnamed one players guess.
        *("-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"),
        *("-colorspace", "bt709", "-color_range", "tv"),
        # Near to what is seen as lossless; the index in front, so that a browser begins before it has the whole file.
        *("-crf", "16", "-movflags", "+faststart"),
    ]


def _ffmpeg() -> str:
    program = shutil.which("ffmpeg")
    if program is None:
        raise DataError(
            "An MP4 needs the program ffmpeg, which is not installed or not on the PATH: install it, or use --format gif, "
            "webp or apng."
        )
    return program


def _first_words(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the first line that ffmpeg said, which has the reason; the last ones say that it has failed."""
    lines = done.stderr.decode("utf-8", "replace").split("\n")
    said = [" ".join(line.split()) for line in lines if line.strip()]
    return said[0][:200].rstrip(".") if said else f"exit code {done.returncode}"
