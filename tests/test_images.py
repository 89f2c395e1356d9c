from __future__ import annotations

import io
import os
import struct
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from facevae.errors import DataError
from facevae.storage import images
from facevae.storage.image_kinds import IMAGE_SUFFIXES
from facevae.storage.images import (
    MAX_PIXELS,
    load_face,
    open_image,
    picture_size,
    smaller_side,
    squashed,
    unpiped,
)

KINDS = "JPEG, PNG, WebP, GIF, BMP, TIFF or PNM"


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth random colours with a little fine noise, about as hard to decode as a portrait."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    return Image.fromarray(np.clip(smooth + random.normal(0, 2, smooth.shape), 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pixels(image: Image.Image) -> list[list[int]]:
    rows: list[list[int]] = np.asarray(image).reshape(-1, 3).tolist()
    return rows


def decibels(first: np.ndarray, second: np.ndarray) -> float:
    error = np.mean((first.astype(float) - second.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-10)))


# ------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_kinds_are_read_exactly_from_bytes_and_files(kind: str, tmp_path: Path) -> None:
    original = photograph(9, 7)
    path = tmp_path / "face.of-no-known-suffix"
    path.write_bytes(encoded(original, kind))
    for source in (path, path.read_bytes()):
        image = open_image(source)
        assert (image.mode, image.size, image.info) == ("RGB", (9, 7), {})
        assert np.array_equal(np.asarray(image), np.asarray(original))


def test_webp_is_read() -> None:
    original = photograph(9, 7)
    assert pixels(open_image(encoded(original, "WEBP", lossless=True))) == pixels(original)


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (3, 2), colour) for colour in ("red", "blue")]
    animation = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixels(open_image(animation)) == [[255, 0, 0]] * 6


def test_the_first_of_a_pair_of_camera_pictures_is_taken() -> None:
    pair = encoded(Image.new("RGB", (8, 8), "red"), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert open_image(pair).getpixel((4, 4)) == pytest.approx((254, 0, 0), abs=1)


def test_a_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = encoded(Image.new("RGB", (2, 2), "red"), "PNG")
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    assert pixels(open_image(pipe)) == [[255, 0, 0]] * 4
    writer.join()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_enormous_images_are_decoded_one_at_a_time(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(photograph(30, 30), kind)
    expected = load_face(data, 32)
    monkeypatch.setattr(images, "ENORMOUS_PIXELS", 30 * 30 - 1)
    with ThreadPoolExecutor(2) as pool:
        with images._ENORMOUS:
            decoded = pool.submit(load_face, data, 32)
            small = pool.submit(load_face, encoded(photograph(29, 30), kind), 32)
            small.result(timeout=10)
            assert not decoded.done()
        assert np.array_equal(decoded.result(timeout=10), expected)


def test_several_threads_read_the_same() -> None:
    data = [encoded(photograph(178, 218, seed), "JPEG") for seed in range(4)] * 8
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: load_face(one, 32), data))
    assert all(np.array_equal(one, load_face(source, 32)) for one, source in zip(together, data, strict=True))


def test_suffixes_are_lower_case() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"} <= IMAGE_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)


# ------------------------------------------------------------------------------- conversions


def test_grey_becomes_rgb() -> None:
    grey = Image.fromarray(np.array([[0, 100, 255]], np.uint8))
    assert pixels(open_image(encoded(grey, "PNG"))) == [[0, 0, 0], [100, 100, 100], [255, 255, 255]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    grey = Image.fromarray(np.array([[0, 257 * 100, 257 * 200, 65535]], np.uint16))
    assert pixels(open_image(encoded(grey, kind))) == [[value] * 3 for value in (0, 100, 200, 255)]


def test_sixteen_bit_grey_is_rounded() -> None:
    grey = Image.fromarray(np.array([[128, 129, 65406, 65407]], np.uint16))
    assert [value[0] for value in np.asarray(open_image(encoded(grey, "PNG")))[0].tolist()] == [0, 1, 254, 255]


def test_bilevel_becomes_black_and_white() -> None:
    assert pixels(open_image(encoded(Image.fromarray(np.array([[False, True]])), "PNG"))) == [[0] * 3, [255] * 3]


def test_palette_becomes_rgb() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert pixels(open_image(encoded(image, "PNG"))) == [[10, 20, 30], [40, 50, 60]]


def test_cmyk_becomes_rgb() -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert open_image(encoded(image, "JPEG")).getpixel((4, 4)) == pytest.approx((255, 0, 0), abs=2)


def test_what_is_transparent_lies_on_white() -> None:
    image = Image.new("RGBA", (3, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 0))
    image.putpixel((2, 0), (255, 0, 0, 51))
    assert pixels(open_image(encoded(image, "PNG"))) == [[255, 0, 0], [255, 255, 255], [255, 204, 204]]


def test_transparent_grey_lies_on_white() -> None:
    image = Image.new("LA", (2, 1), (0, 255))
    image.putpixel((1, 0), (0, 0))
    assert pixels(open_image(encoded(image, "PNG"))) == [[0, 0, 0], [255, 255, 255]]


def test_a_transparent_palette_lies_on_white_without_a_warning() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert pixels(open_image(encoded(image, "PNG", transparency=b"\xff\x00"))) == [[10, 20, 30], [255, 255, 255]]


def test_a_transparent_colour_lies_on_white() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (4, 5, 6))
    assert pixels(open_image(encoded(image, "PNG", transparency=(4, 5, 6)))) == [[1, 2, 3], [255, 255, 255]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize(
    ("orientation", "corners"),
    # where the four corners of the stored picture, read row by row, belong according to the EXIF standard
    [
        (1, "rgbw"),
        (2, "grwb"),
        (3, "wbgr"),
        (4, "bwrg"),
        (5, "rbgw"),
        (6, "brwg"),
        (7, "wgbr"),
        (8, "gwrb"),
    ],
)
def test_photographs_are_turned_upright(kind: str, orientation: int, corners: str) -> None:
    colours = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255), "w": (255, 255, 255)}
    stored = Image.new("RGB", (2, 2))
    for place, colour in zip([(0, 0), (1, 0), (0, 1), (1, 1)], "rgbw", strict=True):
        stored.putpixel(place, colours[colour])
    stored = stored.resize((64, 32), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = open_image(encoded(stored, kind, exif=exif))
    assert image.size == ((32, 64) if orientation > 4 else (64, 32))
    found = [image.resize((2, 2), Image.Resampling.BOX).getpixel(place) for place in [(0, 0), (1, 0), (0, 1), (1, 1)]]
    assert [value for colour in found for value in colour] == pytest.approx(  # type: ignore[union-attr]
        [value for corner in corners for value in colours[corner]], abs=12
    )


@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", b"Exif\0\0MM\0*\0\0\0\x08\0\xff", b"Exif\0\0"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_metadata_do_not_make_an_image_unreadable(exif: bytes) -> None:
    assert open_image(encoded(Image.new("RGB", (8, 8)), "JPEG", exif=exif)).size == (8, 8)


# ------------------------------------------------------------------------------- the size, from the header


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize(("width", "height"), [(41, 70), (70, 41), (41, 41)])
def test_the_smaller_side_is_known_without_decoding(
    kind: str, width: int, height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("decoded")

    data = encoded(photograph(width, height), kind)
    monkeypatch.setattr(images, "_decoded", never)
    monkeypatch.setattr(images, "decode_plain", never)
    assert smaller_side(data, "face") == 41


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_image_on_its_side_has_the_same_sides(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert smaller_side(encoded(photograph(41, 70), "JPEG", exif=exif), "face") == 41


def test_what_has_no_header_has_no_sides() -> None:
    whole = encoded(photograph(60, 60), "JPEG")
    flat = bytearray(whole)
    frame = flat.index(b"\xff\xc0")
    flat[frame + 5 : frame + 7] = b"\0\0"
    damaged = "face begins as a JPEG image but is damaged or cut short: save or fetch it again."
    for data, message in (
        (b"", "face is empty, where an image is expected."),
        (b"a text of no kind", f"face is not an image that can be read: give a {KINDS} file."),
        (whole[:40], damaged),
        (bytes(flat), damaged),
    ):
        with pytest.raises(DataError) as caught:
            smaller_side(data, "face")
        assert str(caught.value) == message


def on_its_side(kind: str, orientation: int, width: int = 64, height: int = 32, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(photograph(width, height), kind, exif=exif, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [*range(10), 1000])
def test_the_size_is_that_of_the_upright_image(kind: str, orientation: int, tmp_path: Path) -> None:
    data = on_its_side(kind, orientation)
    assert picture_size(data) == open_image(data).size == ((32, 64) if 5 <= orientation <= 8 else (64, 32))
    path = tmp_path / "face"
    path.write_bytes(data)
    assert picture_size(path) == picture_size(data)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg", "tiff_adobe_deflate"])
def test_compressed_tiffs_on_their_side_have_their_size_too(compression: str) -> None:
    data = on_its_side("TIFF", 6, compression=compression)
    assert picture_size(data) == open_image(data).size == (32, 64)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "PPM", "MPO"])
def test_kinds_without_orientation_have_a_size(kind: str) -> None:
    data = encoded(photograph(41, 70), kind)
    assert picture_size(data) == open_image(data).size == (41, 70)


def exif_behind(data: bytes) -> bytes:
    """Move the EXIF chunk of a PNG behind its pixels, where the format lets it be, too."""
    at = data.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(data[at : at + 4], "big")
    chunk, rest = data[at:end], data[:at] + data[end:]
    return rest[:-12] + chunk + rest[-12:]


def test_a_png_may_tell_its_orientation_behind_its_pixels() -> None:
    data = exif_behind(on_its_side("PNG", 6))
    assert picture_size(data) == open_image(data).size == (32, 64)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP", "PNG"])
def test_the_size_is_known_without_decoding(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("decoded")

    data = on_its_side(kind, 6)
    monkeypatch.setattr(images, "_decoded", never)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    assert picture_size(data, "face") == (32, 64)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
def test_what_has_no_size() -> None:
    damaged = "face begins as a {} image but is damaged or cut short: save or fetch it again."
    for data, message in (
        (b"", "face is empty, where an image is expected."),
        (b"a text of no kind", f"face is not an image that can be read: give a {KINDS} file."),
        (on_its_side("JPEG", 6)[:40], damaged.format("JPEG")),
        (on_its_side("TIFF", 6)[:40], damaged.format("TIFF")),
        (
            png_header(20_001, 10_000),
            "face has 20001 x 10000 pixels, more than the 200,000,000 that are taken: reduce it first.",
        ),
    ):
        with pytest.raises(DataError) as caught:
            picture_size(data, "face")
        assert str(caught.value) == message


# ------------------------------------------------------------------------------- pipes


def test_what_came_through_a_pipe_is_kept(tmp_path: Path) -> None:
    path, pipe = tmp_path / "face.png", tmp_path / "pipe"
    data = encoded(photograph(9, 7), "PNG")
    path.write_bytes(data)
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    assert unpiped(pipe) == data
    writer.join()
    assert unpiped(path) == path
    assert unpiped(data) == data
    for missing in (tmp_path / "missing.png", tmp_path, tmp_path / ("x" * 300), Path("a\0b")):
        assert unpiped(missing) == missing


# ------------------------------------------------------------------------------- errors


def refusal(source: Path | bytes, name: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        open_image(source, name)
    return str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "face.jpg"
    assert refusal(path) == f"There is no file {path}. Check its name and folder."
    (tmp_path / "face.jpeg").touch()
    assert refusal(path) == f"There is no file {path}. Did you mean face.jpeg?"
    deep = tmp_path / "nowhere" / "face.jpg"
    assert refusal(deep) == f"There is no file {deep}. Check its name and folder."


def test_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        f"{tmp_path} is a folder, where an image file is expected: name files, such as {tmp_path}/*.jpg."
    )


def test_impossible_paths(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    beneath = tmp_path / "file" / "face.jpg"
    assert refusal(beneath) == f"{beneath} cannot be read: not a directory."
    assert refusal(Path("a\0b"), "face") == "face cannot be read: embedded null byte."


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "face.jpg"
    path.touch()
    assert refusal(path) == f"{path} is empty, where an image is expected."
    assert refusal(b"") == "the image is empty, where an image is expected."


def test_text_named_like_an_image(tmp_path: Path) -> None:
    path = tmp_path / "face.jpg"
    path.write_text("Please, see the attached photograph.")
    assert refusal(path) == f"{path} is not an image that can be read: give a {KINDS} file."
    assert refusal(path.read_bytes(), "stdin") == f"stdin is not an image that can be read: give a {KINDS} file."


def test_postscript_is_never_run() -> None:
    assert refusal(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "face.eps") == (
        f"face.eps is not an image that can be read: give a {KINDS} file."
    )


@pytest.mark.parametrize(
    ("kind", "called"),
    [
        ("JPEG", "JPEG"),
        ("PNG", "PNG"),
        ("GIF", "GIF"),
        ("BMP", "BMP"),
        ("WEBP", "WebP"),
        ("TIFF", "TIFF"),
        ("PPM", "PNM"),
    ],
)
@pytest.mark.parametrize("part", [0.6, 0.95])
@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF data")
def test_images_cut_short(kind: str, called: str, part: float) -> None:
    whole = encoded(photograph(60, 60), kind)
    assert refusal(whole[: int(len(whole) * part)], "face") == (
        f"face begins as a {called} image but is damaged or cut short: save or fetch it again."
    )


def test_images_cut_short_in_their_header() -> None:
    assert refusal(encoded(photograph(60, 60), "JPEG")[:40], "face") == (
        "face begins as a JPEG image but is damaged or cut short: save or fetch it again."
    )


def test_images_cut_short_are_refused_at_reduced_scale_too() -> None:
    whole = encoded(photograph(800, 800), "JPEG")
    with pytest.raises(DataError, match=r"^face begins as a JPEG image but is damaged or cut short"):
        load_face(whole[: len(whole) // 2], 32, "face")


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT"
    chunks = [
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (header, data)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_too_many_pixels_are_refused_from_the_header() -> None:
    assert refusal(png_header(20_001, 10_000), "face.png") == (
        "face.png has 20001 x 10000 pixels, more than the 200,000,000 that are taken: reduce it first."
    )
    assert MAX_PIXELS == 20_000 * 10_000
    assert refusal(png_header(0x7FFFFFFF, 0x7FFFFFFF), "face.png").startswith(
        "face.png has 2147483647 x 2147483647 pixels"
    )


def test_pillows_own_limit_neither_warns_nor_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(photograph(9, 7), "PNG")
    for limit in (40, 5):  # Pillow warns above its limit, and raises above twice of it
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert open_image(data).size == (9, 7)


def test_values_without_a_fixed_brightness_are_refused() -> None:
    remedy = "which have no fixed brightness: save it as an 8-bit PNG or a JPEG."
    floating = encoded(Image.new("F", (2, 2)), "TIFF")
    wide = encoded(Image.fromarray(np.array([[0, 70_000]], np.int32)), "TIFF")
    assert refusal(floating, "face.tif") == f"face.tif holds floating-point values, {remedy}"
    assert refusal(wide, "face.tif") == f"face.tif holds 32-bit values, {remedy}"


@given(
    start=st.sampled_from(
        [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"P5 ", b"RIFF"]
    ),
    rest=st.binary(max_size=80),
)
@settings(max_examples=80, deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_rubbish_is_refused_in_one_way_only(start: bytes, rest: bytes) -> None:
    with suppress(DataError):
        open_image(start + rest, "face")


@given(
    place=st.floats(0, 1),
    value=st.integers(0, 255),
    kind=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP"]),
)
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_changed_byte_is_refused_in_one_way_only(place: float, value: int, kind: str) -> None:
    data = bytearray(encoded(photograph(20, 20), kind))
    data[int(place * (len(data) - 1))] = value
    with suppress(DataError):
        assert open_image(bytes(data), "face").mode == "RGB"


# ------------------------------------------------------------------------------- faces


@pytest.mark.parametrize(("width", "height"), [(178, 218), (64, 64), (20, 30), (1, 1), (501, 77)])
def test_load_face_is_the_plain_resize(width: int, height: int) -> None:
    original = photograph(width, height)
    face = load_face(encoded(original, "PNG"), 32)
    assert (face.shape, str(face.dtype), face.flags.writeable) == ((32, 32, 3), "uint8", True)
    assert np.array_equal(face, np.asarray(original.resize((32, 32), Image.Resampling.BILINEAR)))


@pytest.mark.parametrize(("width", "height"), [(178, 218), (64, 64), (20, 30), (1, 1), (501, 77)])
def test_a_squashed_image_is_the_face_that_is_loaded_of_it(width: int, height: int) -> None:
    original = photograph(width, height)
    face = squashed(original, 32)
    assert (face.shape, str(face.dtype), face.flags.writeable) == ((32, 32, 3), "uint8", True)
    assert np.array_equal(face, load_face(encoded(original, "PNG"), 32))


def test_load_face_is_torchvisions_resize() -> None:
    transforms = pytest.importorskip("torchvision.transforms.v2")
    original = photograph(178, 218)
    expected = np.asarray(transforms.Resize((32, 32))(original))
    assert np.array_equal(load_face(encoded(original, "PNG"), 32), expected)


def fully_decoded(data: bytes, size: int) -> np.ndarray:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


@pytest.mark.parametrize(
    ("width", "height", "decoded"),
    [
        (178, 218, (89, 109)),  # CelebA itself
        (176, 176, (88, 88)),
        (174, 218, (174, 218)),  # half of it is less than 2.75 times 32
        (179, 218, (179, 218)),  # odd: half of it would end inside a pixel
        (356, 436, (89, 109)),
        (358, 436, (179, 218)),  # a quarter of it would end inside a pixel
        (800, 1200, (100, 150)),
        (8000, 88, (8000, 88)),
    ],
)
def test_large_jpegs_are_decoded_at_reduced_scale(width: int, height: int, decoded: tuple[int, int]) -> None:
    data = encoded(photograph(width, height), "JPEG", quality=95)
    assert open_image(data, at_least=32).size == decoded
    assert open_image(data).size == (width, height)
    assert decibels(load_face(data, 32), fully_decoded(data, 32)) >= 50


def test_reduced_scale_and_orientation_go_together() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photograph(400, 800), "JPEG", exif=exif)
    assert open_image(data, at_least=32).size == (200, 100)
    upright = Image.open(io.BytesIO(data)).transpose(Image.Transpose.ROTATE_270)
    expected = np.asarray(upright.resize((32, 32), Image.Resampling.BILINEAR))
    assert decibels(load_face(data, 32), expected) >= 50


def test_grey_and_cmyk_jpegs_are_decoded_at_reduced_scale() -> None:
    for mode in ("L", "CMYK"):
        data = encoded(photograph(400, 400).convert(mode), "JPEG")
        assert open_image(data, at_least=32).size == (100, 100)
        assert decibels(load_face(data, 32), fully_decoded(data, 32)) >= 50


# ------------------------------------------------------------------------------------------ kinds that take more


def heic_of(image: Image.Image) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=95)
    return buffer.getvalue()


def smooth_picture(width: int = 96, height: int = 64) -> Image.Image:
    """Two gradients, which every lossy format keeps nearly as they are."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, 255 - across], axis=-1).astype(np.uint8))


def test_heic_is_read_with_the_extra() -> None:
    picture = smooth_picture()
    data = heic_of(picture)
    read = open_image(data)
    assert (read.mode, read.size, picture_size(data)) == ("RGB", (96, 64), (96, 64))
    assert np.abs(np.asarray(read).astype(int) - np.asarray(picture)).mean() < 4


@pytest.mark.parametrize("cut", [100, 400])
def test_a_damaged_heic_is_told(cut: int) -> None:
    with pytest.raises(DataError) as error:
        open_image(heic_of(smooth_picture())[:cut], "anna.heic")
    assert str(error.value) == "anna.heic begins as a HEIC image but is damaged or cut short: save or fetch it again."


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1"])
def test_without_the_extra_a_heic_names_it(brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "pillow_heif.as_plugin", None)
    data = b"\0\0\0\x18ftyp" + brand + bytes(40)
    with pytest.raises(DataError) as error:
        open_image(data, "anna.heic")
    assert str(error.value) == (
        'anna.heic is a HEIC image, which takes the extra heic: pip install "facevae[heic]", or save it as a JPEG.'
    )


def test_avif_is_read_where_pillow_does(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = smooth_picture()
    if features.check("avif"):
        buffer = io.BytesIO()
        picture.save(buffer, "AVIF", quality=95)
        read = open_image(buffer.getvalue())
        assert (read.mode, read.size) == ("RGB", (96, 64))
        assert np.abs(np.asarray(read).astype(int) - np.asarray(picture)).mean() < 4
    monkeypatch.setattr(features, "check", lambda feature: False)
    with pytest.raises(DataError) as error:
        open_image(b"\0\0\0\x18ftypavif" + bytes(40), "anna.avif")
    assert str(error.value) == (
        "anna.avif is an AVIF image, which the installed Pillow does not read: update Pillow, or save it as a JPEG."
    )


def png_of(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_palette_that_is_missing() -> None:
    header = (b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 3, 0, 0, 0))
    data = png_of(header, (b"IDAT", zlib.compress(b"\0\1\2\0\1\2")), (b"IEND", b""))
    with pytest.raises(DataError) as error:
        open_image(data, "anna.png")
    assert str(error.value) == ("anna.png begins as a PNG image but is damaged or cut short: save or fetch it again.")


def test_a_side_that_is_too_long() -> None:
    header = (b"IHDR", struct.pack(">IIBBBBB", 100_001, 1, 8, 0, 0, 0, 0))
    with pytest.raises(DataError) as error:
        picture_size(png_of(header, (b"IDAT", b""), (b"IEND", b"")), "anna.png")
    assert str(error.value) == (
        "anna.png has 100001 x 1 pixels, and more than 100,000 on a side are not taken: reduce it first."
    )


def test_a_jpeg_of_scans_without_end() -> None:
    """Each of a few bytes, and each a pass over all pixels: of 200 million, hours of them in a megabyte."""
    buffer = io.BytesIO()
    photograph(64, 48).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rfind(b"\xff\xda")
    many = data[:last] + data[last:-2] * 490 + b"\xff\xd9"
    assert load_face(many, 8, "anna.jpg").shape == (8, 8, 3)
    assert open_image(many).size == (64, 48)
    endless = data[:last] + data[last:-2] * 501 + b"\xff\xd9"
    for read in (lambda: load_face(endless, 8, "anna.jpg"), lambda: open_image(endless, "anna.jpg")):
        with pytest.raises(DataError) as error:
            read()
        assert str(error.value) == (
            "anna.jpg begins as a JPEG image but is damaged or cut short: save or fetch it again."
        )


def test_a_file_gives_no_memory_for_what_it_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "anna.png"
    path.write_bytes(b"0123456789")
    with images._stream(path, "anna.png") as stream:
        assert stream.read(4) == b"0123"
        assert stream.read(1 << 50) == b"456789"
        assert stream.read(1 << 50) == b""
        stream.seek(8)
        assert stream.read() == b"89"
