"""The short way of decoding ordinary JPEGs: the pixels are those of Pillow's own reader, and the rest is left to it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facevae.drawing import draw_face
from facevae.drawing.dataset import drawn_traits
from facevae.errors import DataError
from facevae.storage import images
from facevae.storage.images import load_face, open_image
from facevae.storage.jpeg import decode_plain, plain_size, reducing_scale

if TYPE_CHECKING:
    from numpy.typing import NDArray


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise with the spectrum of photographs (amplitude falls with frequency), and a hard edge across it."""
    random = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]
    fall = 1 / np.maximum(np.hypot(rows, columns), 1 / max(width, height))
    channels = []
    for _ in range(3):
        phases = np.exp(2j * np.pi * random.random((height, width)))
        noise = np.fft.ifft2(fall * phases).real
        channels.append(noise / noise.std())
    picture = 128 + 45 * (np.stack(channels, axis=-1) * 0.4 + channels[0][:, :, None] * 0.9)
    picture[height // 3 :, : width // 2] *= 0.6
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **{"quality": 95, **options})
    return stream.getvalue()


def by_pillow(data: bytes, size: int) -> NDArray[np.uint8]:
    """What Pillow's own reader comes to, at the same scale."""
    image = open_image(data, at_least=size)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def decibels(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    error = np.mean((first.astype(float) - second.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-10)))


ORDINARY = {
    "baseline": {},
    "progressive": {"progressive": True},
    "all colour pixels kept": {"subsampling": 0},
    "optimised": {"optimize": True, "quality": 60},
    "a comment": {"comment": b"Lena's sister"},
    "a colour profile": {"icc_profile": bytes(3000)},
    "restarts": {"restart_marker_rows": 2},
    "kept as RGB": {"keep_rgb": True},
}


@pytest.mark.parametrize("options", ORDINARY.values(), ids=ORDINARY)
@pytest.mark.parametrize("size", [16, 32, 64])
def test_ordinary_jpegs_take_the_short_way_to_the_same_pixels(
    options: dict[str, Any], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(photograph(178, 218), **options)
    assert plain_size(data) == (178, 218)
    expected = by_pillow(data, size)
    monkeypatch.setattr(images, "open_image", None)  # whoever goes the long way fails
    assert np.array_equal(load_face(data, size), expected)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


OTHERS = {
    "grey": encoded(photograph(60, 80).convert("L")),
    "CMYK": encoded(photograph(60, 80).convert("CMYK")),
    "turned": encoded(photograph(60, 80), exif=turned(6)),
    "XMP": encoded(photograph(60, 80), xmp=b'<x tiff:Orientation="8"/>'),
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_what_is_out_of_the_ordinary_is_left_to_pillow(data: bytes) -> None:
    assert plain_size(data) is None
    assert np.array_equal(load_face(data, 32), by_pillow(data, 32))


def test_an_orientation_in_xmp_is_applied() -> None:
    plain = Image.open(io.BytesIO(OTHERS["XMP"])).convert("RGB").transpose(Image.Transpose.ROTATE_90)
    assert np.array_equal(load_face(OTHERS["XMP"], 32), np.asarray(plain.resize((32, 32), Image.Resampling.BILINEAR)))


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\x10JFIF", b"\x89PNG\r\n\x1a\n" + bytes(50)]
)
def test_what_is_no_jpeg_has_no_size(data: bytes) -> None:
    assert plain_size(data) is None


def test_other_frames_have_no_plain_size() -> None:
    data = encoded(photograph(20, 30))
    frame = data.index(b"\xff\xc0")
    twelve_bits = data[: frame + 4] + b"\x0c" + data[frame + 5 :]
    arithmetic = data[: frame + 1] + b"\xc9" + data[frame + 2 :]
    length = int.from_bytes(data[frame + 2 : frame + 4], "big") + 2
    twice = data[: frame + length] + data[frame : frame + length] + data[frame + length :]
    for changed in (twelve_bits, arithmetic, twice):
        assert plain_size(changed) is None


def test_a_frame_without_height_is_refused() -> None:
    data = bytearray(encoded(photograph(20, 30)))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 7] = b"\0\0"
    with pytest.raises(DataError, match=r"^face begins as a JPEG image but is damaged or cut short"):
        load_face(bytes(data), 32, "face")


def test_a_decompression_bomb_is_refused_from_its_header() -> None:
    """60,000 x 60,000 pixels in a few kilobytes: nothing is decoded, at whatever scale."""
    data = bytearray(encoded(photograph(20, 30)))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (60_000).to_bytes(2, "big") * 2
    with pytest.raises(DataError) as caught:
        load_face(bytes(data), 32, "face")
    assert str(caught.value) == (
        "face has 60000 x 60000 pixels, more than the 200,000,000 that are taken: reduce it first."
    )


def outcome(data: bytes, decode: Any) -> Any:
    try:
        return decode(data).tolist()
    except DataError as error:
        return str(error)


@given(
    place=st.floats(0, 1),
    value=st.integers(0, 255),
    cut=st.one_of(st.none(), st.floats(0, 1)),
    progressive=st.booleans(),
    size=st.sampled_from([4, 16]),
)
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_gives_what_pillows_reader_gives(
    place: float, value: int, cut: float | None, progressive: bool, size: int
) -> None:
    """The same pixels, or the same sentence, whatever byte is wrong and wherever the file ends."""
    data = bytearray(encoded(photograph(48, 40), quality=75, progressive=progressive))
    data[int(place * (len(data) - 1))] = value
    damaged = bytes(data) if cut is None else bytes(data[: int(cut * len(data))])

    def slowly(data: bytes) -> NDArray[np.uint8]:
        image = open_image(data, "face", at_least=size)
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))

    assert outcome(damaged, lambda data: load_face(data, size, "face")) == outcome(damaged, slowly)


def test_a_failing_decoder_leaves_it_to_pillow() -> None:
    data = encoded(photograph(60, 80))
    assert decode_plain(data[: len(data) // 2], 60, 80, 1) is None


# ------------------------------------------------------------------------------- reduced scales


@pytest.mark.parametrize(
    ("width", "height", "at_least", "scale"),
    [
        (178, 218, 16, 2),  # a quarter would end inside a pixel
        (178, 218, 32, 2),
        (178, 218, 64, 1),
        (712, 872, 16, 8),
        (712, 872, 32, 8),
        (712, 872, 64, 4),
        (712, 872, 128, 2),
        (704, 704, 32, 8),
        (696, 696, 32, 4),  # an eighth is less than 2.75 times 32
        (31, 31, 32, 1),
    ],
)
def test_scales(width: int, height: int, at_least: int, scale: int) -> None:
    assert reducing_scale(width, height, at_least) == scale


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), size=st.sampled_from([16, 32, 64, 128]))
def test_a_scale_divides_the_frame_and_leaves_enough_of_it(width: int, height: int, size: int) -> None:
    scale = reducing_scale(width, height, size)
    assert scale in (1, 2, 4, 8)
    assert (width % scale, height % scale) == (0, 0)
    assert scale == 1 or min(width, height) / scale >= 2.75 * size


@pytest.mark.parametrize("size", [16, 32, 64, 128])
@pytest.mark.parametrize("frame", [(178, 218), (356, 436), (712, 872)])
def test_a_reduced_decode_is_within_50_decibels_of_a_full_one(size: int, frame: tuple[int, int]) -> None:
    pictures = [photograph(*frame, seed) for seed in range(2)]
    pictures += [draw_face(drawn_traits(0, number)).convert("RGB").resize(frame) for number in (1, 2)]
    for picture in pictures:
        for subsampling in (0, 2):
            data = encoded(picture, subsampling=subsampling)
            full = Image.open(io.BytesIO(data)).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
            assert decibels(load_face(data, size), np.asarray(full)) >= 50
