"""Turning a changed photograph into the bytes of a picture file: as exactly as the format can, with its colour profile."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

from facevae.figures.picture import check_image_size

_JPEG: dict[str, Any] = {"format": "JPEG", "quality": 95, "subsampling": "4:4:4"}
_TIFF: dict[str, Any] = {"format": "TIFF"}
_SAVED_AS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    # Exact: what is transparent keeps its colours, too.
    ".webp": {"format": "WEBP", "lossless": True, "exact": True},
    ".tif": _TIFF,
    ".tiff": _TIFF,
}
PHOTOGRAPH_SUFFIXES = tuple(_SAVED_AS)


def photograph_bytes(image: Image.Image, name: str = "picture.png", icc_profile: bytes | None = None) -> bytes:
    """Return an image in the format that the file name `name` asks for (PNG for standard output).

    PNG, WebP and TIFF are lossless. JPEG is of quality 95 with colours as fine as the brightness; it knows no transparency, so
    what is transparent is laid on white.

    Args:
        image: RGB or RGBA.
        name: the file's name, the suffix of which says the format.
        icc_profile: what the colours mean, None for sRGB.

    Raises:
        UsageError: the suffix stands for no format, or for one that does not hold so many pixels.
    """
    check_image_size(name, *image.size)
    options = _SAVED_AS[Path(name).suffix.lower()]
    if options is _JPEG and image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, **(options | ({"icc_profile": icc_profile} if icc_profile else {})))
    return buffer.getvalue()
