from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from facevae.errors import DataError, UsageError
from facevae.figures.photograph import photograph_bytes
from facevae.storage import images
from facevae.storage.images import open_image
from facevae.storage.photograph import Photograph

LOSSLESS = ["new.png", "new.webp", "new.tif", "new.TIFF"]
_NOW = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SRGB = _NOW[:24] + bytes(12) + _NOW[36:]
"""Without the time, for the processes that run the tests are to agree on what these are."""


def profile_for(space: bytes) -> bytes:
    """The sRGB profile with another word for its colours: all that is looked at."""
    return SRGB[:16] + space + SRGB[20:]


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encoded(photograph: Photograph, pixels: NDArray[np.uint8], name: str = "picture.png") -> bytes:
    """Other pixels as a file, with the rest of a photograph."""
    changed = photograph.with_pixels(pixels)
    return photograph_bytes(changed.image, name, changed.icc_profile)


def file_of(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def plain(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    return file_of(Image.fromarray(noise(7, 9)).convert(mode), kind, **options)


def transparent(kind: str, mode: str = "RGBA", **options: Any) -> bytes:
    return file_of(Image.fromarray(noise(7, 9, 4)).convert(mode), kind, **options)


def on_its_side(kind: str, image: Image.Image | None = None) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return file_of(image or Image.fromarray(noise(7, 9)), kind, exif=exif)


def palette(transparency: bytes | int) -> bytes:
    image = Image.fromarray(noise(7, 9)).quantize(5)
    return file_of(image, "PNG", transparency=transparency)


def sixteen_bits(kind: str) -> bytes:
    return file_of(Image.fromarray(np.arange(63, dtype=np.uint16).reshape(7, 9) * 1000), kind)


def animation() -> bytes:
    frames = [Image.fromarray(noise(7, 9, seed=seed)) for seed in range(3)]
    return file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])


def transparent_animation() -> bytes:
    frames = [Image.fromarray(noise(7, 9, 4, seed)) for seed in range(3)]
    return file_of(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)


OPAQUE: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: plain("JPEG"),
    "grey JPEG": lambda: plain("JPEG", "L"),
    "CMYK JPEG": lambda: plain("JPEG", "CMYK"),
    "JPEG on its side": lambda: on_its_side("JPEG"),
    "TIFF on its side": lambda: on_its_side("TIFF"),
    "PNG": lambda: plain("PNG"),
    "PNG with a palette": lambda: plain("PNG", "P"),
    "grey PNG": lambda: plain("PNG", "L"),
    "black and white PNG": lambda: plain("PNG", "1"),
    "16-bit PNG": lambda: sixteen_bits("PNG"),
    "16-bit TIFF": lambda: sixteen_bits("TIFF"),
    "CMYK TIFF": lambda: plain("TIFF", "CMYK"),
    "WebP": lambda: plain("WEBP"),
    "BMP": lambda: plain("BMP"),
    "PPM": lambda: plain("PPM"),
    "animated GIF": animation,
}
TRANSPARENT: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: transparent("PNG"),
    "grey PNG": lambda: transparent("PNG", "LA"),
    "PNG on its side": lambda: on_its_side("PNG", Image.fromarray(noise(7, 9, 4))),
    "PNG with a palette": lambda: palette(b"\x00\x80\xff\xff\xff"),
    "PNG with a transparent entry": lambda: palette(2),
    "PNG with a transparent colour": lambda: plain("PNG", transparency=tuple(noise(7, 9)[3, 3].tolist())),
    "TIFF": lambda: transparent("TIFF"),
    "WebP": lambda: transparent("WEBP", lossless=True, exact=True),
    "animated WebP": transparent_animation,
    "GIF": lambda: file_of(Image.fromarray(noise(7, 9)).quantize(5), "GIF", transparency=1),
}
EVERY = {**{f"opaque {name}": make for name, make in OPAQUE.items()}, **TRANSPARENT}


# ------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("name", EVERY)
def test_it_is_shown_as_open_image_gives_it(name: str) -> None:
    data = EVERY[name]()
    photograph = Photograph.load(data)
    assert np.array_equal(photograph.shown, np.asarray(open_image(data)))
    assert (photograph.pixels.dtype, photograph.pixels.shape) == (np.dtype(np.uint8), photograph.shown.shape)
    if name in TRANSPARENT:
        assert photograph.alpha is not None
        assert (photograph.alpha.dtype, photograph.alpha.shape) == (np.dtype(np.uint8), photograph.shown.shape[:2])
        assert photograph.alpha.min() < 255
    else:
        assert photograph.alpha is None
        assert photograph.shown is photograph.pixels


def test_colours_that_cannot_be_seen_are_kept() -> None:
    layers = noise(7, 9, 4)
    layers[2:5, :, 3] = 0
    photograph = Photograph.load(file_of(Image.fromarray(layers), "PNG"))
    assert photograph.alpha is not None
    assert np.array_equal(photograph.pixels, layers[..., :3])
    assert np.array_equal(photograph.alpha, layers[..., 3])
    assert (photograph.shown[2:5] == 255).all()


def test_what_lies_on_its_side_is_turned_with_its_transparency() -> None:
    layers = noise(7, 9, 4)
    photograph = Photograph.load(on_its_side("PNG", Image.fromarray(layers)))
    assert photograph.alpha is not None
    assert np.array_equal(np.dstack([photograph.pixels, photograph.alpha]), np.rot90(layers, -1))


def test_a_file_is_read_as_its_bytes_are(tmp_path: Path) -> None:
    path = tmp_path / "face.jpg"
    path.write_bytes(plain("JPEG", icc_profile=SRGB))
    of_file, of_bytes = Photograph.load(path), Photograph.load(path.read_bytes())
    assert np.array_equal(of_file.pixels, of_bytes.pixels)
    assert of_file.icc_profile == of_bytes.icc_profile == SRGB


def test_it_is_refused_as_open_image_refuses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 62)
    sources: list[Path | bytes] = [tmp_path / "none.jpg", tmp_path, b"", b"a text", plain("PNG"), plain("JPEG")[:300]]
    for source in sources:
        for name in (None, "my face"):
            with pytest.raises(DataError) as expected:
                open_image(source, name)
            with pytest.raises(DataError) as caught:
                Photograph.load(source, name)
            assert str(caught.value) == str(expected.value)


@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF data")
def test_a_damaged_one_is_refused_in_the_same_words() -> None:
    data = plain("PNG")
    with pytest.raises(DataError) as caught:
        Photograph.load(data[: len(data) // 2], "face")
    assert str(caught.value) == "face begins as a PNG image but is damaged or cut short: save or fetch it again."


# ------------------------------------------------------------------------------- colour profiles


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("name", [*LOSSLESS, "new.jpg", "new.jpeg"])
def test_a_profile_goes_with_the_colours(kind: str, name: str) -> None:
    photograph = Photograph.load(plain(kind, icc_profile=SRGB))
    assert photograph.icc_profile == SRGB
    again = encoded(photograph, photograph.pixels, name)
    assert Image.open(io.BytesIO(again)).info["icc_profile"] == SRGB
    assert Photograph.load(again).icc_profile == SRGB


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("CMYK", profile_for(b"CMYK")),
        ("CMYK", SRGB),
        ("L", profile_for(b"GRAY")),
        ("RGB", profile_for(b"Lab ")),
        ("RGB", b"rubbish"),
        ("RGB", SRGB[:36] + b"none" + SRGB[40:]),
        ("RGB", SRGB[:100]),
    ],
    ids=["of-CMYK", "of-RGB-for-CMYK", "of-grey", "of-Lab", "rubbish", "unsigned", "short"],
)
def test_a_profile_that_does_not_fit_rgb_is_left_out(mode: str, profile: bytes) -> None:
    data = plain("JPEG", mode, icc_profile=profile)
    assert Image.open(io.BytesIO(data)).info["icc_profile"] == profile
    photograph = Photograph.load(data)
    assert photograph.icc_profile is None
    assert "icc_profile" not in Image.open(io.BytesIO(encoded(photograph, photograph.pixels, "new.png"))).info


def test_sixteen_bit_grey_has_no_profile_afterwards() -> None:
    grey = Image.fromarray(np.full((7, 9), 999, np.uint16))
    assert Photograph.load(file_of(grey, "PNG", icc_profile=profile_for(b"GRAY"))).icc_profile is None


def test_of_other_metadata_nothing_is_handed_on() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 3, "A camera"
    exif.get_ifd(0x8825)[1] = "N"
    photograph = Photograph.load(
        file_of(Image.fromarray(noise(7, 9)), "JPEG", exif=exif, comment=b"At home", dpi=(72, 72))
    )
    for name in ("new.jpg", "new.png", "new.webp"):
        again = Image.open(io.BytesIO(encoded(photograph, photograph.pixels, name)))
        assert not dict(again.getexif())
        assert not {"exif", "comment", "dpi", "xmp"} & set(again.info)


# ------------------------------------------------------------------------------- what is written


@given(
    name=st.sampled_from(LOSSLESS),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.sampled_from([3, 4]),
    seed=st.integers(0, 99),
    profile=st.sampled_from([None, SRGB]),
)
@settings(max_examples=30, deadline=None)
def test_what_is_written_without_loss_is_read_as_it_was(
    name: str, height: int, width: int, channels: int, seed: int, profile: bytes | None
) -> None:
    layers = noise(height, width, channels, seed)
    layers[::2, ..., 3:] = 0
    original = Photograph(layers[..., :3], layers[..., 3] if channels == 4 else None, profile)
    new = noise(height, width, seed=seed + 100)
    again = Photograph.load(encoded(original, new, name))
    assert np.array_equal(again.pixels, new)
    assert again.icc_profile == profile
    if original.alpha is None:
        assert again.alpha is None
    else:
        assert again.alpha is not None
        assert np.array_equal(again.alpha, original.alpha)


@pytest.mark.parametrize("name", EVERY)
def test_every_kind_comes_back_as_a_png(name: str) -> None:
    photograph = Photograph.load(EVERY[name]())
    data = encoded(photograph, photograph.pixels)
    assert Image.open(io.BytesIO(data)).mode == ("RGBA" if name in TRANSPARENT else "RGB")
    assert np.array_equal(np.asarray(open_image(data)), photograph.shown)


def test_a_jpeg_keeps_fine_colours_and_lies_on_white() -> None:
    layers = np.zeros((16, 16, 4), np.uint8)
    layers[:, ::2] = (220, 60, 60, 255)
    layers[:, 1::2] = (60, 60, 220, 255)
    layers[8:, :, 3] = 0
    photograph = Photograph.load(file_of(Image.fromarray(layers), "PNG"))
    image = Image.open(io.BytesIO(encoded(photograph, photograph.pixels, "new.jpg")))
    assert (image.format, image.mode, image.layer) == ("JPEG", "RGB", [(1, 1, 1, 0), (2, 1, 1, 1), (3, 1, 1, 1)])  # type: ignore[attr-defined]
    found = np.asarray(image).astype(int)
    assert np.abs(found[:8] - layers[:8, :, :3]).max() < 12
    assert np.abs(found[8:] - 255).max() < 12


@pytest.mark.parametrize(
    ("name", "kind"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.jpeg", "JPEG"), ("a.webp", "WEBP"), ("a.tif", "TIFF")]
)
def test_the_suffix_says_the_format(name: str, kind: str) -> None:
    pixels = noise(7, 9)
    assert Image.open(io.BytesIO(encoded(Photograph(pixels), pixels, name))).format == kind


def test_names_and_sizes_without_a_format_are_refused() -> None:
    pixels = noise(1, 20_000)
    for name, message in (
        (
            "new.gif",
            "Cannot write a picture to new.gif: its name must end in one of .png, .jpg, .jpeg, .webp, .tif, .tiff.",
        ),
        (
            "new.webp",
            "new.webp cannot hold 20000 x 1 pixels, as 16,383 a side are the most for its format: name a .png file.",
        ),
    ):
        with pytest.raises(UsageError) as caught:
            encoded(Photograph(pixels), pixels, name)
        assert str(caught.value) == message


def test_pixels_of_another_size_are_refused() -> None:
    photograph = Photograph(noise(7, 9))
    for pixels, found in ((noise(9, 7), "(9, 7, 3) uint8"), (noise(7, 9).astype(np.float32), "(7, 9, 3) float32")):
        with pytest.raises(UsageError) as caught:
            encoded(photograph, pixels)  # type: ignore[arg-type]
        assert str(caught.value) == f"The photograph's pixels are of shape (7, 9, 3) and type uint8, not {found}."
