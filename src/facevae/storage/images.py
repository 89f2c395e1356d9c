"""Pictures from outside: any common image file becomes upright 8-bit RGB, or a square face, or one clear `DataError`.

Every function here may be called from several threads at once: nothing global is changed.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import PIL
from PIL import Image, ImageFile, features
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from facevae.errors import DataError, did_you_mean
from facevae.storage.image_kinds import START_BYTES, kind_name, reader_for
from facevae.storage.jpeg import check_scans, decode_plain, plain_size, reducing_scale
from facevae.storage.output import describe_os_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_PIXELS = 200_000_000
"""Images with more pixels than this are refused from their header, before any memory is spent on them."""

MAX_SIDE = 100_000
"""Nor is a longer side taken: a few bytes of a packed BMP can stand for 255 of its lines, however long these are."""

ENORMOUS_PIXELS = 25_000_000
"""Images with more pixels (100 MB decoded) are decoded one at a time: every thread would need as much at once."""

RESIZE_RULE = "whole frame to a square, Pillow bilinear, antialiased"
"""What `load_face` does to a frame, as it is written into the files made from it."""

DECODER = f"Pillow {PIL.__version__}, JPEG {features.version('jpg')}"
"""What decodes: another version may give other pixels."""

_NEIGHBOURS_LOOKED_AT = 2000

_PROFILE_HEADER = 128
_LONGEST_PROFILE = 255 * 65_519
"""In bytes: a JPEG holds no longer one."""

_MOST_AT_ONCE = 1 << 20
_ENORMOUS = threading.Lock()
_ORIENTATION_TAG = 0x0112
_WIDTH_TAG, _HEIGHT_TAG = 0x0100, 0x0101
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = (5, 6, 7, 8)


def load_face(source: Path | bytes, size: int, name: str | None = None) -> NDArray[np.uint8]:
    """Return the whole frame of an image, squashed to a square.

    The resize is Pillow's antialiased bilinear filter, the rule of torchvision's `v2.Resize` on a Pillow image. JPEGs
    much larger than `size` are decoded at a reduced scale first (see `open_image`).

    Args:
        source: the path of an image file, or its bytes.
        size: the side of the square, in pixels.
        name: what to call the image in errors (by default the path).

    Returns:
        uint8 array of shape (size, size, 3), RGB, values from 0 to 255.

    Raises:
        DataError: the image is missing, unreadable, damaged or too large.
    """
    return np.array(_square(source, size, name))


def squashed(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Return an image squashed to (size, size, 3), uint8, by the rule of `load_face`."""
    return np.array(_squash(image, size))


def load_face_bytes(data: bytes, size: int, name: str) -> bytes:
    """Return `load_face(data, size, name).tobytes()`, sooner."""
    return _square(data, size, name).tobytes()


def picture_size(source: Path | bytes, name: str | None = None) -> tuple[int, int]:
    """Return the width and height of an image as `open_image` gives it, upright, from its header.

    Nothing is decoded, except a PNG without EXIF data before its pixels: they may come behind them.

    Raises:
        DataError: the image is missing or too large, or its header is damaged or of no image.
    """
    label = _label(source, name)
    with _opened(source, label) as image:
        width, height = _stored_size(image)
        return (height, width) if _orientation(image) in _ON_ITS_SIDE else (width, height)


def _stored_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Return the width and height before the orientation is applied: of a TIFF, newer Pillow tells those after it."""
    if isinstance(image, TiffImageFile):
        return image.tag_v2[_WIDTH_TAG], image.tag_v2[_HEIGHT_TAG]
    return image.size


def smaller_side(data: bytes, name: str) -> int:
    """Return the smaller of the two sides of an image in pixels, from its header: nothing is decoded.

    Raises:
        DataError: the header is damaged, or of no image.
    """
    size = plain_size(data)
    if size is None or 0 in size:  # no image has such a side: Pillow's own reader refuses it
        with _stream(data, name) as stream:
            size = _read_header(stream, name).size
    return min(size)


def _square(source: Path | bytes, size: int, name: str | None) -> Image.Image:
    image = _plain_jpeg(source, size) if isinstance(source, bytes) else None
    if image is None:
        image = open_image(source, name, at_least=size)
    return _squash(image, size)


def _squash(image: Image.Image, size: int) -> Image.Image:
    return image.resize((size, size), Image.Resampling.BILINEAR)


def _plain_jpeg(data: bytes, at_least: int) -> Image.Image | None:
    """Return what `open_image` would, sooner, or None where the image is not an ordinary JPEG, whole and not too large."""
    size = plain_size(data)
    if size is None:
        return None
    width, height = size
    scale = reducing_scale(width, height, at_least)
    if not 0 < width * height <= min(MAX_PIXELS, ENORMOUS_PIXELS * scale * scale):
        return None
    return decode_plain(data, width, height, scale)


def open_image(
    source: Path | bytes, name: str | None = None, *, at_least: int | None = None, enlarged: int = 1
) -> Image.Image:
    """Return an image, fully decoded: RGB, 8 bits a channel, upright (its EXIF orientation applied).

    Grey, palette, CMYK and 16-bit grey images are converted; transparent ones are laid on white; of an animation the
    first frame is taken.

    Args:
        source: the path of an image file, or its bytes.
        name: what to call the image in errors (by default the path).
        at_least: the caller will reduce the image to this many pixels a side, so a much larger JPEG may be decoded
            at a reduced scale: several times faster, and after the reduction within about 50 dB of the full decode.
        enlarged: the caller will enlarge the image so many times, so one whose enlargement would have more than
            `MAX_PIXELS` is refused as well, from its header.

    Raises:
        DataError: the image is missing, unreadable, damaged or too large.
    """
    label = _label(source, name)
    with _opened(source, label, enlarged) as image:
        width, height = image.size
        scale = reducing_scale(width, height, at_least) if at_least and isinstance(image, JpegImageFile) else 1
        if scale > 1:
            image.draft(None, (width // scale, height // scale))
        with _turn(width * height // scale**2):
            return on_white(_decoded(image, label))


class Layer(NamedTuple):
    """An image that is not laid on white.

    Attributes:
        image: RGB, or RGBA where the file says what is transparent; 8 bits a channel, upright, without metadata.
        icc_profile: what the colours mean, or None where the file has no such profile for RGB.
    """

    image: Image.Image
    icc_profile: bytes | None


def open_layer(source: Path | bytes, name: str | None = None) -> Layer:
    """Return an image as `open_image` does, but with its transparency and its colour profile.

    Raises:
        DataError: as `open_image`.
    """
    label = _label(source, name)
    with _opened(source, label) as image, _turn(image.width * image.height):
        return Layer(_decoded(image, label), _rgb_profile(image))


def on_white(image: Image.Image) -> Image.Image:
    """Return an image, RGB or RGBA, as RGB: what is transparent is laid on white."""
    if image.mode == "RGB":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


@contextmanager
def _opened(source: Path | bytes, label: str, enlarged: int = 1) -> Iterator[ImageFile.ImageFile]:
    """Give an image of which the header was read, if it is not too large."""
    with _stream(source, label) as stream:
        image = _read_header(stream, label)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise DataError(
                f"{label} has {width} x {height} pixels, more than the {MAX_PIXELS:,} that are taken: reduce it first."
            )
        if max(width, height) > MAX_SIDE:
            raise DataError(
                f"{label} has {width} x {height} pixels, and more than {MAX_SIDE:,} on a side are not taken: reduce it first."
            )
        if width * height * enlarged**2 > MAX_PIXELS:
            raise DataError(
                f"{label} has {width} x {height} pixels and would have more than {MAX_PIXELS:,} when enlarged {enlarged} "
                "times: reduce it first, or enlarge it less."
            )
        yield image


def unpiped(source: Path | bytes, name: str | None = None) -> Path | bytes:
    """Return the bytes of a pipe such as `<(command)`, which can be read only once, and anything else as it is.

    Raises:
        DataError: the pipe cannot be read.
    """
    if isinstance(source, bytes) or not _holds(source.is_fifo):
        return source
    with _stream(source, _label(source, name)) as stream:
        return stream.read()


def _holds(question: Callable[[], bool]) -> bool:
    """Return the answer to `path.is_fifo` and the like, False where there is none."""
    try:
        return question()
    except OSError:  # a name too long, a folder that may not be searched: told when the file is opened
        return False


def _label(source: Path | bytes, name: str | None) -> str:
    return name or (str(source) if isinstance(source, Path) else "the image")


def _decoded(image: ImageFile.ImageFile, label: str) -> Image.Image:
    """Decode an image of which the header was read, and make it upright RGB, or RGBA where it is transparent."""
    try:
        if isinstance(image, JpegImageFile) and image.fp is not None:
            check_scans(image.fp)
        image.load()
    except Image.DecompressionBombError as error:
        raise _too_large(label) from error
    except Exception as error:  # decoders fail in every way that there is on damaged bytes
        raise _damaged(label, image) from error
    # Read after loading: a PNG may carry it behind its pixels, and a TIFF is already upright by then.
    orientation = _orientation(image)
    upright = _without_metadata(image, label)
    if orientation in _UPRIGHT:
        upright = upright.transpose(_UPRIGHT[orientation])
    return upright


def _turn(pixels: int) -> AbstractContextManager[object]:
    """Give what to hold while so many pixels are decoded: for an enormous image, its turn among the threads that have one."""
    return _ENORMOUS if pixels > ENORMOUS_PIXELS else nullcontext()


class _File(io.BufferedReader):
    """A file that gives no memory for bytes which it does not have: a PNG of a few may ask for gigabytes at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_AT_ONCE and self.seekable():
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


@contextmanager
def _stream(source: Path | bytes, label: str) -> Iterator[BinaryIO]:
    """Give the bytes of `source` as a seekable stream, which a pipe such as `<(command)` is not."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    try:
        stream = _File(source.open("rb", buffering=0))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _unopened(source, label, error) from error
    with stream:
        yield stream if stream.seekable() else io.BytesIO(stream.read())


def _unopened(path: Path, label: str, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        hint = did_you_mean(path.name, _neighbours(path)) or " Check its name and folder."
        return DataError(f"There is no file {label}.{hint}")
    if isinstance(error, IsADirectoryError) or _holds(path.is_dir):  # Windows says "permission denied" of a directory
        return DataError(f"{label} is a folder, where an image file is expected: name files, such as {label}/*.jpg.")
    reason = describe_os_error(error) if isinstance(error, OSError) else str(error)
    return DataError(f"{label} cannot be read: {reason}.")


def _neighbours(path: Path) -> list[str]:
    """List what lies beside a missing file, but not the whole of a folder of 200,000 faces."""
    try:
        return [entry.name for entry in islice(path.parent.iterdir(), _NEIGHBOURS_LOOKED_AT)]
    except (OSError, ValueError):
        return []


def _read_header(stream: BinaryIO, label: str) -> ImageFile.ImageFile:
    """Read the header of an image, from which its size is known, and nothing of its pixels.

    The readers are called one by one instead of through `PIL.Image.open`, for three reasons. `open` warns of images
    above a limit of its own, and a warning filter is global, so no thread may touch it. It would hand PostScript from
    anywhere to an interpreter. And it says "cannot identify" of a damaged JPEG as of a text file.
    """
    try:
        start = stream.read(START_BYTES)
        stream.seek(0)
    except OSError as error:
        raise DataError(f"{label} cannot be read: {describe_os_error(error)}.") from error
    if not start:
        raise DataError(f"{label} is empty, where an image is expected.")
    reader = reader_for(start, label)
    try:
        return reader(stream, "")
    except Image.DecompressionBombError as error:
        raise _too_large(label) from error
    except Exception as error:  # see open_image
        raise _damaged(label, reader) from error


def _damaged(label: str, image: ImageFile.ImageFile | type[ImageFile.ImageFile]) -> DataError:
    return DataError(
        f"{label} begins as a {kind_name(image)} image but is damaged or cut short: save or fetch it again."
    )


def _too_large(label: str) -> DataError:
    return DataError(f"{label} has more than the {MAX_PIXELS:,} pixels that are taken: reduce it first.")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) where there is none: broken metadata do not make a face unreadable."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # the metadata parser, too, fails in every way that there is
        return 1


def _rgb_profile(image: Image.Image) -> bytes | None:
    """Return the ICC profile of a loaded image, unless it is broken or for other colours than those that `_decoded` gives."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not _PROFILE_HEADER <= len(profile) <= _LONGEST_PROFILE:
        return None
    # A CMYK or grey profile would be wrong in a file of RGB: readers refuse it, or show other colours.
    return profile if image.mode != "CMYK" and profile[16:20] == b"RGB " and profile[36:40] == b"acsp" else None


def _without_metadata(image: ImageFile.ImageFile, label: str) -> Image.Image:
    """Convert to 8-bit RGB, or RGBA where something may be transparent, without metadata."""
    grey = image.mode == "I" or image.mode.startswith("I;16")
    pixels: Image.Image = _to_eight_bits(image, label) if grey else image
    if pixels.mode == "F":
        raise _unsupported(label, "floating-point values")
    try:
        converted = pixels.convert("RGBA" if pixels.has_transparency_data else "RGB")
    except ValueError as error:
        raise _unsupported(label, f"colours of the kind {image.mode}") from error
    except Exception as error:  # such as a palette that is missing
        raise _damaged(label, image) from error
    converted.info = {}
    return converted


def _to_eight_bits(image: Image.Image, label: str) -> Image.Image:
    """Scale 16-bit grey to 8 bits. Pillow's own conversion clips every value above 255 to white."""
    grey = np.asarray(image).astype(np.int64)
    if image.mode == "I" and (grey.min() < 0 or grey.max() > 65535):
        raise _unsupported(label, "32-bit values")
    return Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8))


def _unsupported(label: str, what: str) -> DataError:
    return DataError(f"{label} holds {what}, which have no fixed brightness: save it as an 8-bit PNG or a JPEG.")
