"""Turning a drawn picture into the bytes of a picture file, by the file's suffix."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image

from facevae.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PILLOW_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
"""In pixels; the other formats hold more than facevae makes."""
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


def check_image_size(name: str, width: int, height: int) -> None:
    """Raise a `UsageError` unless a picture of so many pixels can be written under this name."""
    kind = _format_of(name, _PILLOW_FORMATS)
    if max(width, height) > _LONGEST_SIDE.get(kind, max(width, height)):
        raise UsageError(
            f"{name} cannot hold {width} x {height} pixels, as {_LONGEST_SIDE[kind]:,} a side are the most for its format: "
            "name a .png file."
        )


def save_image(image: Image.Image, stream: BinaryIO, name: str) -> None:
    """Write `image` to a stream in the format that the file name `name` asks for.

    Raises:
        UsageError: the suffix stands for no format.
    """
    kind = _format_of(name, _PILLOW_FORMATS)
    image.save(stream, format=kind, **({"quality": 95} if kind in ("JPEG", "WEBP") else {}))


def image_bytes(image: Image.Image, name: str = "picture.png") -> bytes:
    """Return `image` in the format that the file name `name` asks for (PNG for standard output).

    Raises:
        UsageError: the suffix stands for no format.
    """
    buffer = io.BytesIO()
    save_image(image, buffer, name)
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
