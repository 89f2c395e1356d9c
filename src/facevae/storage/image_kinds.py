"""Which kind of image a file holds, told from its first bytes, and Pillow's reader for it."""

from __future__ import annotations

from PIL import ImageFile, features
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from facevae.errors import DataError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pbm", ".pgm", ".ppm"}
    | {".heic", ".heif", ".avif"}
)
"""Lower-case suffixes of the files that are taken as images when a folder or an archive is searched."""

START_BYTES = 16
"""So many bytes tell the kind."""

_KINDS = "JPEG, PNG, WebP, GIF, BMP, TIFF or PNM"
_NAMES = {"PPM": "PNM", "WEBP": "WebP", "HEIF": "HEIC"}
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")


def reader_for(start: bytes, label: str) -> type[ImageFile.ImageFile]:
    """Return the reader for an image, told from its first 16 bytes, never from its suffix, which is often wrong.

    Raises:
        DataError: they are of no image, or of one that takes a decoder which is not installed. `label` names it.
    """
    if start[4:8] == b"ftyp":
        if start[8:12] in _HEIC_BRANDS:
            return _heic_reader(label)
        if start[8:12] in _AVIF_BRANDS:
            return _avif_reader(label)
    reader = _common_reader(start)
    if reader is None:
        raise DataError(f"{label} is not an image that can be read: give a {_KINDS} file.")
    return reader


def kind_name(image: ImageFile.ImageFile | type[ImageFile.ImageFile]) -> str:
    """Return what people call the kind of an image."""
    return _NAMES.get(str(image.format), str(image.format))


def _common_reader(start: bytes) -> type[ImageFile.ImageFile] | None:
    if start.startswith(b"\xff\xd8\xff"):
        return JpegImageFile  # also the first picture of an MPO, which is what cameras call a pair of JPEGs
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return WebPImageFile
    if start.startswith((b"GIF87a", b"GIF89a")):
        return GifImageFile
    if start.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        return TiffImageFile
    if start.startswith(b"BM"):
        return BmpImageFile
    if start[:1] == b"P" and start[1:2] in tuple(b"%d" % digit for digit in range(1, 7)) and start[2:3].isspace():
        return PpmImageFile
    return None


def _heic_reader(label: str) -> type[ImageFile.ImageFile]:
    """Return the reader of the package pillow-heif, without registering it with Pillow, which is global."""
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ImportError as error:
        raise DataError(
            f'{label} is a HEIC image, which takes the extra heic: pip install "facevae[heic]", or save it as a JPEG.'
        ) from error
    reader: type[ImageFile.ImageFile] = HeifImageFile
    return reader


def _avif_reader(label: str) -> type[ImageFile.ImageFile]:
    if not features.check("avif"):
        raise DataError(
            f"{label} is an AVIF image, which the installed Pillow does not read: update Pillow, or save it as a JPEG."
        )
    from PIL.AvifImagePlugin import AvifImageFile

    return AvifImageFile
