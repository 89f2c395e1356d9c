"""Whether a result becomes a strip or an animation, and in which file."""

from __future__ import annotations

from pathlib import Path

from facevae.config import PICTURE_FORMATS
from facevae.errors import UsageError
from facevae.figures.animation import ANIMATION_SUFFIXES, animation_of_suffix, check_animation
from facevae.figures.picture import check_image_name
from facevae.storage.output import Output, output_name

STRIP = PICTURE_FORMATS[0]
_SUFFIXES = {STRIP: (".png",), **ANIMATION_SUFFIXES}


def resolve_picture(output: Output | None, picture_format: str | None, default: Path) -> tuple[Output, str]:
    """Settle file and format from each other: `-o x.gif` means a GIF, and `--format gif` alone means `default` as a GIF.
    Without either it is `default`, a still picture.

    The format is one of `PICTURE_FORMATS`; "png" stands for a strip, in whatever format of pictures its file's name asks for.

    Raises:
        DataError: an MP4 is asked for, and there is no ffmpeg.
        UsageError: there is no such format, or file and format contradict each other.
    """
    if picture_format is not None and picture_format not in PICTURE_FORMATS:
        raise UsageError(
            f"There is no format {picture_format}: use {', '.join(PICTURE_FORMATS[:-1])} or {PICTURE_FORMATS[-1]}."
        )
    if output is None:
        output = default if picture_format is None else default.with_suffix(_SUFFIXES[picture_format][0])
    suffix = output.suffix.lower() if isinstance(output, Path) else ""
    if picture_format is None:
        picture_format = animation_of_suffix(suffix) or STRIP
    elif isinstance(output, Path) and suffix not in _SUFFIXES[picture_format]:
        known = " or ".join(_SUFFIXES[picture_format])
        raise UsageError(f"{output} does not go with --format {picture_format}: name a {known} file.")
    if picture_format == STRIP:
        check_image_name(output_name(output))
    check_animation(picture_format)
    return output, picture_format
