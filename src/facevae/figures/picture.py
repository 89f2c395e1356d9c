"""Turning a drawn picture into the bytes of a picture file, by the file's suffix."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from facevae.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PILLOW_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
_PLOT_FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}


def _format_of(name: str, formats: dict[str, str]) -> str:
    suffix = Path(name).suffix.lower()
    if suffix not in formats:
        known = ", ".join(formats)
        raise UsageError(f"Cannot write a picture to {name}: its name must end in one of {known}.")
    return formats[suffix]


def check_image_name(name: str) -> None:
    """Raise a `UsageError` unless a picture of pixels can be written under this name."""
    _format_of(name, _PILLOW_FORMATS)


def check_plot_name(name: str) -> None:
    """Raise a `UsageError` unless a plot can be written under this name."""
    _format_of(name, _PLOT_FORMATS)


def image_bytes(image: Image.Image, name: str = "picture.png") -> bytes:
    """Return `image` in the format that the file name `name` asks for (PNG for standard output).

    Raises:
        UsageError: the suffix stands for no format.
    """
    buffer = io.BytesIO()
    options = {"quality": 95} if _format_of(name, _PILLOW_FORMATS) in ("JPEG", "WEBP") else {}
    image.save(buffer, format=_format_of(name, _PILLOW_FORMATS), **options)
    return buffer.getvalue()


def animation_bytes(frames: Sequence[Image.Image], *, milliseconds: int = 80) -> bytes:
    """Return `frames` as an endlessly looped GIF, each shown for `milliseconds`."""
    # One palette for all frames, made from all of them: a palette a frame would make the colours flicker.
    widest = Image.new("RGB", (frames[0].width, sum(frame.height for frame in frames)))
    for number, frame in enumerate(frames):
        widest.paste(frame, (0, number * frames[0].height))
    palette = widest.quantize(256, method=Image.Quantize.MEDIANCUT)
    quantised = [frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames]
    buffer = io.BytesIO()
    quantised[0].save(
        buffer, format="GIF", save_all=True, append_images=quantised[1:], duration=milliseconds, loop=0, optimize=False
    )
    return buffer.getvalue()


def plot_bytes(figure: Figure, name: str = "picture.png") -> bytes:
    """Return a matplotlib figure in the format that the file name `name` asks for.

    Raises:
        UsageError: the suffix stands for no format.
    """
    import matplotlib as mpl

    buffer = io.BytesIO()
    plot_format = _format_of(name, _PLOT_FORMATS)
    # Dates and random ids would make two equal runs write different files.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(plot_format)
    with mpl.rc_context({"svg.hashsalt": "facevae"}):
        figure.savefig(buffer, format=plot_format, dpi=150, metadata=metadata)
    return buffer.getvalue()
