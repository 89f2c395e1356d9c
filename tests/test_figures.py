"""Pictures: where the tiles lie and what is in them, that no label is cropped, and the bytes of every format."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import support
from facevae.errors import UsageError
from facevae.figures.activations import channel_tile, input_picture, layer_picture, overview_picture
from facevae.figures.canvas import BACKGROUND, FAINT_INK, GAP, INK, MARGIN, Grid, draw_grid, enlarge, font, shorten
from facevae.figures.faces import (
    MorphAxis,
    morph_frames,
    morph_grid,
    morph_plane,
    reconstruction_grid,
    sample_grid,
    signed,
)
from facevae.figures.gallery import GalleryItem, gallery_page
from facevae.figures.picture import check_image_name, check_plot_name, image_bytes, plot_bytes
from facevae.figures.plots import LossCurves, gain_plot, loss_plot, scatter_plot
from helpers import border, pixels, tile

LONG = "a-very-long-file-name-as-cameras-and-messengers-like-to-give-them-20240131-1200"


def array(image: Image.Image) -> NDArray[np.uint8]:
    assert image.mode == "RGB"
    return np.array(image)


def assert_nothing_cropped(image: Image.Image) -> None:
    assert (border(array(image)) == BACKGROUND).all()


# ------------------------------------------------------------------------------------------ labels


@pytest.mark.parametrize(
    ("step", "label"), [(0, "0"), (-0.0, "0"), (1, "+1"), (-3, "−3"), (2.5, "+2.5"), (-0.25, "−0.25"), (1e-7, "+1e−07")]
)
def test_signed(step: float, label: str) -> None:
    assert signed(step) == label


@given(text=st.text(max_size=60), width=st.integers(20, 200))
def test_shortened_text_fits_and_keeps_its_ends(text: str, width: int) -> None:
    text = text.replace("\n", " ").replace("\r", " ")
    short = shorten(text, width)
    assert font(13).getlength(short) <= width
    if short == text:
        return
    assert font(13).getlength(text) > width
    head, _, tail = short.rpartition("…") if "…" not in text else short.partition("…")
    if "…" not in text:
        assert text.startswith(head)
        assert text.endswith(tail)
        assert 0 <= len(head) - len(tail) <= 1


def test_text_that_fits_is_left_alone() -> None:
    assert shorten("face.jpg", 200) == "face.jpg"
    assert shorten("000001-000002.jpg", 60) == "000…jpg"
    assert shorten("WWWW", 12) == "…"


def test_the_font_has_the_signs_that_labels_use() -> None:
    empty = font(13).getmask("\U0010fffd").getbbox()
    for sign in "−…δ×|äβЖ":
        assert font(13).getmask(sign).getbbox() != empty


# ------------------------------------------------------------------------------------------ grids


def test_tiles_lie_where_they_should() -> None:
    faces = support.random_images(6, 32)
    grid = array(draw_grid(Grid([list(faces[:4]), [None, *faces[4:]]], 32)))
    pitch = 32 + GAP
    assert grid.shape == (2 * MARGIN + 2 * pitch - GAP, 2 * MARGIN + 4 * pitch - GAP, 3)
    for number, (row, column) in enumerate([(0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]):
        found = tile(grid, MARGIN + column * pitch, MARGIN + row * pitch, 32)
        assert np.array_equal(found, faces[number])
    assert (tile(grid, MARGIN, MARGIN + pitch, 32) == BACKGROUND).all()
    assert (tile(grid, MARGIN + 3 * pitch, MARGIN + pitch, 32) == BACKGROUND).all()


def test_faces_are_enlarged_bicubically_and_maps_by_whole_pixels() -> None:
    face = support.random_images(1, 32)[0]
    expected = Image.fromarray(face).resize((96, 96), Image.Resampling.BICUBIC)
    assert np.array_equal(array(enlarge(face, 96)), np.array(expected))
    assert np.array_equal(array(enlarge(face, 96, smooth=False)), face.repeat(3, axis=0).repeat(3, axis=1))
    assert np.array_equal(array(enlarge(face, 32)), face)


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (9, 1, 9), (10, 1, 10), (40, 4, 10), (41, 5, 10)])
def test_samples_stand_ten_a_row(count: int, rows: int, columns: int) -> None:
    faces = support.random_images(count, 16)
    picture = array(sample_grid(faces, 16))
    pitch = 16 + GAP
    assert picture.shape == (2 * MARGIN + rows * pitch - GAP, 2 * MARGIN + columns * pitch - GAP, 3)
    for number, face in enumerate(faces):
        row, column = divmod(number, columns)
        assert np.array_equal(tile(picture, MARGIN + column * pitch, MARGIN + row * pitch, 16), face)


@pytest.mark.parametrize("names", [["a"], ["short", LONG], ["ümläut", "日本", "𝔘𝔫𝔦"], ["x"] * 10])
@pytest.mark.parametrize("side", [16, 32, 96])
def test_no_label_of_reconstructions_is_cropped(names: list[str], side: int) -> None:
    faces = support.random_images(len(names), 16)
    picture = reconstruction_grid(faces, faces, [0.0123] * len(names), names, side)
    assert_nothing_cropped(picture)


@pytest.mark.parametrize("attribute", ["Bald", "5_o_Clock_Shadow", LONG])
@pytest.mark.parametrize("names", [["face"], ["face", LONG]])
@pytest.mark.parametrize("side", [16, 96])
def test_no_label_of_morphs_is_cropped(attribute: str, names: list[str], side: int) -> None:
    faces = support.random_images(len(names), 16)
    morphs = np.stack([faces, faces], axis=1)
    picture = morph_grid(faces, morphs, [-3, 1.25], names, attribute, 12.3456, side)
    assert_nothing_cropped(picture)
    assert picture.width >= 2 * MARGIN + 3 * side + 2 * GAP


@pytest.mark.parametrize("names", [("Male", "Young"), ("2 Smiling − Eyeglasses", "5_o_Clock_Shadow"), (LONG, LONG)])
@pytest.mark.parametrize("side", [16, 96])
def test_a_plane_shows_each_face_at_its_place_and_crops_no_label(names: tuple[str, str], side: int) -> None:
    faces = support.random_images(7, side)
    across, down = MorphAxis(names[0], [-1, 0.5, 2], 1.234), MorphAxis(names[1], [3, -0.5], 56.78)
    picture = morph_plane(faces[6], faces[:6].reshape(2, 3, side, side, 3), across, down, side, "held still: Bald")
    assert_nothing_cropped(picture)
    shown = array(picture)
    places = {}
    for number, face in enumerate(faces):
        views = np.lib.stride_tricks.sliding_window_view(shown[:, :, 0], (side, side))
        rows, columns = np.nonzero((views[:, :, 0, :] == face[0, :, 0]).all(axis=2))
        found = [
            (row, column)
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
            if np.array_equal(tile(shown, column, row, side), face)
        ]
        assert len(found) == 1, number
        places[number] = found[0]
    tops, lefts = [places[0][0], places[3][0]], [places[0][1], places[1][1], places[2][1]]
    assert tops[0] < tops[1]
    assert lefts[0] < lefts[1] < lefts[2]
    assert [places[number] for number in range(6)] == [(top, left) for top in tops for left in lefts]
    assert places[6][0] == tops[1]  # the original stands in the row that is nearest to 0
    assert places[6][1] < lefts[0]


def test_the_labels_of_an_axis() -> None:
    assert MorphAxis("Young", [-2, 0, 1.5], 1.0).labels() == ["Young −2", "Young 0", "Young +1.5"]
    assert MorphAxis("2 Young − Male", [-2, 0], 1.0).labels() == ["−2", "0"]


def test_what_else_is_said_stands_in_the_picture() -> None:
    faces = support.random_images(2, 32)
    morphs = np.stack([faces, faces], axis=1)
    plain, told = (array(morph_grid(faces, morphs, [0, 1], ["a", "b"], "Male", 1.0, 128, how)) for how in ("", "x"))
    assert plain.shape == told.shape
    rows = np.flatnonzero((plain != told).any(axis=(1, 2)))
    assert MARGIN + 20 < rows.min() <= rows.max() < MARGIN + 50  # in the line of the subtitle alone
    plain, told = (array(morph_frames(morphs, [0, 1], "Male", 64, how)[0]) for how in ("", "x; y"))
    assert told.shape[0] > plain.shape[0]


def test_each_label_stands_over_its_column() -> None:
    """Ink above a tile, between its left and right edge, in the line of the column labels; none without labels."""
    faces = np.full((3, 48, 48, 3), 255, dtype=np.uint8)
    labelled = array(draw_grid(Grid([list(faces)], 48, column_labels=["0", "", "−3"])))
    ink = (labelled != 255).any(axis=2)
    pitch = 48 + GAP
    for column, expected in enumerate([True, False, True]):
        left = MARGIN + column * pitch
        assert ink[MARGIN : MARGIN + 20, left : left + 48].any() == expected
    assert not ink[MARGIN + 20 :].any()


def test_a_row_label_is_level_with_its_row() -> None:
    faces = np.full((3, 48, 48, 3), 255, dtype=np.uint8)
    labelled = array(draw_grid(Grid([[face] for face in faces], 48, row_labels=["one", "", "three"])))
    ink = (labelled != 255).any(axis=2)
    for row, expected in enumerate([True, False, True]):
        top = MARGIN + row * (48 + GAP)
        assert ink[top : top + 48].any() == expected
    rows = np.flatnonzero(ink[: 48 + MARGIN].any(axis=1))
    assert abs(rows.mean() - (MARGIN + 24)) < 3


def test_reconstructions_stand_under_their_inputs() -> None:
    inputs, outputs = support.random_images(3, 32), support.random_images(3, 32, seed=1)
    picture = array(reconstruction_grid(inputs, outputs, [0.1, 0.2, 0.3], ["a", "b", "c"], 32))
    width = max(int(font(13).getlength(f"MSE 0.{digit}000")) + 1 for digit in (1, 2, 3))
    assert width > 32
    left = picture.shape[1] - MARGIN - 3 * width - 2 * GAP
    top = MARGIN + 20
    assert picture.shape[0] == top + 32 + GAP + 32 + 20 + MARGIN  # the inputs have no captions, nor room for them
    for column in range(3):
        x = left + column * (width + GAP) + (width - 32) // 2
        assert np.array_equal(tile(picture, x, top, 32), inputs[column])
        assert np.array_equal(tile(picture, x, top + 32 + GAP, 32), outputs[column])


def written(text: str, width: int, ink: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return how a whole label looks in the middle of a column of that width, in the 20 pixels of its line."""
    line = Image.new("RGB", (width, 20), BACKGROUND)
    ImageDraw.Draw(line).text((width / 2, 0), text, font=font(13), fill=ink, anchor="ma")
    return np.array(line)


@pytest.mark.parametrize("side", [8, 16, 32, 64, 96])
def test_labels_are_written_out_however_small_the_tiles(side: int) -> None:
    """Pixel by pixel: the whole label stands over its column, and the whole caption under its tile."""
    faces = np.zeros((3, side, side, 3), dtype=np.uint8)
    labels, captions = ["original", "+1.25", "−3"], ["MSE 0.0123", "MSE 0.1234", ""]
    picture = array(draw_grid(Grid([list(faces)], side, column_labels=labels, captions=[captions])))
    width = max(side, *(int(font(13).getlength(text)) + 1 for text in (*labels, *captions)))
    assert picture.shape == (2 * MARGIN + 20 + side + 20, 2 * MARGIN + 3 * (width + GAP) - GAP, 3)
    for column, (label, caption) in enumerate(zip(labels, captions, strict=True)):
        left = MARGIN + column * (width + GAP)
        assert np.array_equal(picture[MARGIN : MARGIN + 20, left : left + width], written(label, width, INK))
        under = MARGIN + 20 + side + 2
        expected = written(caption, width, FAINT_INK)[:18]
        assert np.array_equal(picture[under : under + 18, left : left + width], expected)
        inset = left + (width - side) // 2
        assert (tile(picture, inset, MARGIN + 20, side) == 0).all()
        beside = np.delete(picture[MARGIN + 20 : MARGIN + 20 + side], np.s_[inset : inset + side], axis=1)
        assert (beside[:, left : left + width - side] == 255).all()


def test_columns_are_widened_up_to_a_limit_and_longer_labels_shortened() -> None:
    faces = np.zeros((2, 16, 16, 3), dtype=np.uint8)
    picture = array(draw_grid(Grid([list(faces)], 16, column_labels=["a", LONG])))
    assert picture.shape[1] == 2 * MARGIN + 2 * 85 + GAP
    assert_nothing_cropped(Image.fromarray(picture))


def test_without_labels_columns_are_as_wide_as_their_tiles() -> None:
    faces = support.random_images(2, 16)
    for grid in (Grid([list(faces)], 16), Grid([list(faces)], 16, row_labels=["a-long-row-label"])):
        picture = array(draw_grid(grid))
        left = picture.shape[1] - MARGIN - 2 * 16 - GAP
        assert np.array_equal(tile(picture, left, MARGIN, 16), faces[0])
        assert np.array_equal(tile(picture, left + 16 + GAP, MARGIN, 16), faces[1])


@pytest.mark.parametrize(
    ("captions", "heights"),
    [
        ([], [0, 0, 0]),
        ([["", ""], ["a", "b"], ["", "c"]], [0, 20, 20]),
        ([["a", "b"]], [20, 0, 0]),
        ([["", ""], ["", ""], ["a", ""]], [0, 0, 20]),
        ([[], [], []], [0, 0, 0]),
    ],
)
def test_only_rows_with_captions_take_room_for_them(captions: list[list[str]], heights: list[int]) -> None:
    faces = support.random_images(6, 32)
    picture = array(draw_grid(Grid([list(faces[:2]), list(faces[2:4]), list(faces[4:])], 32, captions=captions)))
    top = MARGIN
    for row, height in enumerate(heights):
        for column in range(2):
            found = tile(picture, MARGIN + column * (32 + GAP), top, 32)
            assert np.array_equal(found, faces[2 * row + column])
        below = picture[top + 32 : top + 32 + GAP + height]
        assert (below < 255).any() == bool(height)
        top += 32 + height + GAP
    assert picture.shape[0] == top - GAP + MARGIN


def test_captions_of_several_lines_stand_under_each_other() -> None:
    faces = support.random_images(4, 96)
    captions = [["one", "two\nlines"], ["", "three"]]
    picture = array(draw_grid(Grid([list(faces[:2]), list(faces[2:])], 96, captions=captions)))
    second = MARGIN + 96 + 2 * 20 + GAP  # the longest caption of the row decides
    assert picture.shape == (second + 96 + 20 + MARGIN, 2 * MARGIN + 2 * 96 + GAP, 3)
    assert np.array_equal(tile(picture, MARGIN, second, 96), faces[2])
    for column, texts in enumerate((["one", ""], ["two", "lines"])):
        left = MARGIN + column * (96 + GAP)
        for line, text in enumerate(texts):
            top = MARGIN + 96 + 2 + 20 * line
            found = picture[top : top + 18, left : left + 96]
            assert np.array_equal(found, written(text, 96, FAINT_INK)[:18])


# ------------------------------------------------------------------------------------------ animations


@pytest.mark.parametrize("count", [1, 3])
def test_frames_go_there_and_back_and_are_of_one_size(count: int) -> None:
    steps = np.linspace(-10, 10, 9).tolist()
    morphs = np.stack([support.random_images(count, 32, seed=number) for number in range(9)], axis=1)
    frames = morph_frames(morphs, steps, "Smiling", 32)
    assert len(frames) == 9 + 7
    assert len({frame.size for frame in frames}) == 1
    for frame in frames:
        assert_nothing_cropped(frame)
    for index in range(1, 8):
        assert frames[-index].tobytes() == frames[index].tobytes()
    for index in range(9):
        picture = array(frames[index])
        for number in range(count):
            found = tile(picture, MARGIN + number * (32 + GAP), picture.shape[0] - MARGIN - 32, 32)
            assert np.array_equal(found, morphs[number, index])


# ------------------------------------------------------------------------------------------ formats


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", "PNG"),
        ("a.PNG", "PNG"),
        ("a.jpg", "JPEG"),
        ("b.c.jpeg", "JPEG"),
        ("a.webp", "WEBP"),
        ("a.tif", "TIFF"),
    ],
)
def test_the_suffix_decides_the_format(name: str, kind: str) -> None:
    face = support.random_images(1, 32)[0]
    data = image_bytes(Image.fromarray(face), name)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == kind
    check_image_name(name)
    assert np.abs(pixels(data).astype(int) - face).mean() < 6


@pytest.mark.parametrize("name", ["a.bmp", "a", "png", "a.h5", "folder/", ".png"])
def test_names_that_stand_for_no_picture(name: str) -> None:
    message = f"Cannot write a picture to {name}: its name must end in one of .png, .jpg, .jpeg, .webp, .tif, .tiff."
    with pytest.raises(UsageError) as caught:
        check_image_name(name)
    assert str(caught.value) == message
    with pytest.raises(UsageError) as caught:
        image_bytes(Image.new("RGB", (1, 1)), name)
    assert str(caught.value) == message


def test_names_that_stand_for_no_plot() -> None:
    with pytest.raises(UsageError) as caught:
        check_plot_name("map.jpg")
    assert str(caught.value) == "Cannot write a picture to map.jpg: its name must end in one of .png, .svg, .pdf."


# ------------------------------------------------------------------------------------------ activations


def test_a_channel_runs_over_the_whole_colour_map() -> None:
    import matplotlib as mpl

    viridis = mpl.colormaps["viridis"]
    # Of the 101 values -50 to 50, the 2nd percentile is -48 and the 98th is 48.
    channel = np.random.default_rng(0).permutation(np.arange(-50, 51)).astype(np.float32)
    found = channel_tile(channel.reshape(1, 101))
    assert found.dtype == np.uint8
    positions = np.clip((channel.astype(float) + 48) / 96, 0, 1)
    assert (positions == 0).sum() == (positions == 1).sum() == 3
    expected = np.array([viridis(position)[:3] for position in positions])
    assert np.array_equal(found.reshape(101, 3), np.rint(expected * 255).astype(np.uint8))


def test_a_few_huge_values_leave_the_others_their_colours() -> None:
    """Transposed convolutions pile them up near a corner."""
    channel = np.linspace(-1, 1, 1024, dtype=np.float32).reshape(32, 32)
    plain = channel_tile(channel).astype(int)
    channel[0, 0], channel[31, 31] = -1e6, 1e6
    assert np.abs(channel_tile(channel).astype(int) - plain).max() <= 2


def test_a_constant_channel_is_all_dark() -> None:
    found = channel_tile(np.full((4, 4), 3.25, dtype=np.float32))
    assert (found == found[0, 0]).all()
    assert np.array_equal(found, channel_tile(np.zeros((4, 4), dtype=np.float32)))


@pytest.mark.parametrize(("channels", "side"), [(128, 2), (3, 32), (5, 16), (16, 8)])
def test_a_layer_shows_every_channel(channels: int, side: int) -> None:
    maps = np.random.default_rng(0).normal(size=(channels, side, side)).astype(np.float32)
    picture = layer_picture("Encoder convolution 1", maps)
    assert_nothing_cropped(picture)
    shown = array(picture)
    size, gap = (192, GAP) if channels == 3 else (64, 3)
    rows = -(-channels // 16)
    columns = min(channels, 16)
    left = MARGIN if channels == 3 else first_tile_left(picture, columns)
    top = shown.shape[0] - MARGIN - rows * (size + gap) + gap
    for number, channel in enumerate(maps):
        row, column = divmod(number, 16)
        found = tile(shown, left + column * (size + gap), top + row * (size + gap), size)
        assert np.array_equal(found, array(enlarge(channel_tile(channel), size, smooth=False)))


def first_tile_left(picture: Image.Image, columns: int) -> int:
    """Where the tiles begin: after the widest row label, and as wide again as the row asks for."""
    shown = array(picture)
    bottom = shown[-MARGIN - 2]
    return int(np.flatnonzero((bottom != 255).any(axis=1))[0]) if columns else 0


@pytest.mark.parametrize("shape", [(178, 218), (32, 32), (400, 100), (100, 400), (5, 5)])
def test_the_input_is_shown_whole(shape: tuple[int, int]) -> None:
    """A red frame around the original must be there on all four sides."""
    original = Image.new("RGB", shape, "blue")
    original.paste("lime", (1, 1, shape[0] - 1, shape[1] - 1)) if min(shape) > 9 else None
    scaled = support.random_images(1, 32)[0]
    picture = input_picture(original, scaled)
    assert_nothing_cropped(picture)
    shown = array(picture)
    left = shown[MARGIN + 20 :, : MARGIN + 192]
    content = (left != 255).any(axis=2)
    rows, columns = np.flatnonzero(content.any(axis=1)), np.flatnonzero(content.any(axis=0))
    width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
    reduction = max(1.0, shape[0] / 192, shape[1] / 192)
    assert (width, height) == pytest.approx((shape[0] / reduction, shape[1] / reduction), abs=1)
    right = tile(shown, MARGIN + 192 + GAP, MARGIN + 20, 192)
    assert np.array_equal(right, scaled.repeat(6, axis=0).repeat(6, axis=1))


@pytest.mark.parametrize("size", [32, 512])
@pytest.mark.parametrize("channels", [2, 20])
def test_the_overview_crops_nothing(channels: int, size: int) -> None:
    random = np.random.default_rng(0)
    layers = [(f"encoder {number}", random.normal(size=(channels, 4, 4)).astype(np.float32)) for number in range(9)]
    face = np.zeros((size, size, 3), dtype=np.uint8)
    picture = overview_picture(Image.new("RGB", (4000, 3000)), face, face, layers)
    assert_nothing_cropped(picture)
    note = array(picture)[2 * 64 + 44 : 2 * 64 + 66]
    assert note.min() == FAINT_INK[0]  # drawn twice, its soft edges would turn darker


@pytest.mark.parametrize("size", [32, 512])
def test_the_labels_of_the_overview_do_not_touch(size: int) -> None:
    face = np.zeros((size, size, 3), dtype=np.uint8)
    maps = np.zeros((1, 2, 2), dtype=np.float32)
    shown = array(overview_picture(Image.new("RGB", (32, 32)), face, face, [("encoder 1", maps)]))
    ink = np.flatnonzero((shown[MARGIN : MARGIN + 18] != 255).any(axis=(0, 2)))
    assert (np.diff(ink) > 10).sum() == 2  # three labels


def test_the_overview_shows_the_channels_that_vary_most() -> None:
    """From the 10th percentile to the 90th: a single huge value in a corner does not count."""
    maps = np.random.default_rng(0).random((20, 4, 4)).astype(np.float32)
    maps *= np.arange(20)[:, None, None]
    maps[:, 0, 0], maps[:, 0, 1] = 0, np.arange(20)
    maps[:, 0, 2], maps[:, 0, 3] = 0, np.arange(20)  # the higher the channel, the more it varies
    maps[:6, 3, 3] = 1e6
    face = np.zeros((32, 32, 3), dtype=np.uint8)
    shown = array(overview_picture(Image.new("RGB", (32, 32)), face, face, [("encoder 1", maps)]))
    top = shown.shape[0] - MARGIN - 56
    left = int(shown.shape[1] - MARGIN - 14 * 56 - 13 * 3)
    row = shown[top + 2]
    left = next(x for x in range(MARGIN, shown.shape[1]) if (shown[top : top + 56, x] != 255).any(axis=1).all())
    assert (row[left] != 255).any()
    for place, channel in enumerate(range(6, 20)):
        found = tile(shown, left + place * 59, top, 56)
        assert np.array_equal(found, array(enlarge(channel_tile(maps[channel]), 56, smooth=False)))


# ------------------------------------------------------------------------------------------ plots


def curves() -> LossCurves:
    return LossCurves(
        [0.5, 1.0, 1.5, 2.0], [300.0, 90.0, 80.0, 75.0], [290.0, 70.0, 58.0, 52.0], [10.0, 20.0, 22.0, 23.0]
    )


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_plots_in_every_format_are_the_same_bytes_again(name: str, start: bytes) -> None:
    def draw() -> bytes:
        return plot_bytes(loss_plot(curves(), LossCurves([1.0], [85.0], [60.0], [25.0]), 2000.0, 1.0), name)

    data = draw()
    assert data.startswith(start)
    assert data == draw()


def test_the_loss_plot_names_its_parts() -> None:
    text = plot_bytes(loss_plot(curves(), LossCurves([], [], [], []), 30000.0, 0.5), "a.svg").decode()
    titles = [axes.get_title() for axes in loss_plot(curves(), curves(), 30000.0, 0.5).axes]
    assert titles == ["Loss", "Reconstruction (30,000 × MSE)", "KL divergence, nats (weighted by 0.5 in the loss)"]
    assert "<svg" in text


def test_the_peak_of_the_first_steps_does_not_squeeze_the_curve() -> None:
    values = [10_000.0, *np.linspace(100, 50, 40)]
    epochs = [float(number) for number in range(41)]
    axes = loss_plot(LossCurves(epochs, values, values, values), LossCurves([], [], [], []), 1.0, 1.0).axes[0]
    low, high = axes.get_ylim()
    assert 0 < low < 50
    assert 100 < high < 200


def test_the_gain_plot_shows_both_curves_and_the_line_that_counts() -> None:
    figure = gain_plot([0.5, 1.0, 1.5, 2.0], [0.0, 0.5, 0.9, 1.1], [1.0, 2.0], [0.6, 1.2])
    (axes,) = figure.axes
    assert axes.get_title() == "Gain over bicubic enlargement, dB of luma"
    assert axes.get_xlabel() == "epoch"
    drawn = {str(line.get_label()): np.asarray(line.get_xydata()).tolist() for line in axes.lines}
    assert drawn["patches trained on, all factors"] == [[0.5, 0.0], [1.0, 0.5], [1.5, 0.9], [2.0, 1.1]]
    assert drawn["faces held out, ×3"] == [[1.0, 0.6], [2.0, 1.2]]
    assert [y for _, y in drawn["bicubic enlargement"]] == [0.0, 0.0]
    legend = axes.get_legend()
    assert legend is not None
    assert {text.get_text() for text in legend.get_texts()} == set(drawn)
    assert plot_bytes(figure, "a.png").startswith(b"\x89PNG")


def test_the_gain_plot_of_a_training_that_was_stopped_in_its_first_epoch() -> None:
    (axes,) = gain_plot([0.25], [0.0], [], []).axes
    assert [line.get_label() for line in axes.lines] == ["bicubic enlargement", "patches trained on, all factors"]
    low, high = axes.get_ylim()
    assert low < 0 < high


@given(gains=st.lists(st.floats(-3, 3), min_size=1, max_size=30), first=st.floats(-60, 3))
def test_gains_are_within_the_scale_but_for_how_deep_the_first_steps_fall(gains: list[float], first: float) -> None:
    """And the zero always is: what lies below it is worse than bicubic."""
    values = [first, *gains]
    low, high = gain_plot(list(range(len(values))), values, [], []).axes[0].get_ylim()
    assert low < 0 < high
    assert max(values) < high
    if first >= min(gains):
        spread = np.percentile(values, 10) - max(*values, 0.1)
        assert low < min(values) or low < np.percentile(values, 10) + 0.29 * spread
    if len(gains) > 20:
        assert low > -14


def test_first_steps_that_are_much_worse_than_bicubic_do_not_squeeze_the_curve() -> None:
    gains = [-40.0, -8.0, *np.linspace(0.2, 1.5, 38)]
    low, high = gain_plot([float(number) for number in range(40)], gains, [], []).axes[0].get_ylim()
    assert -0.5 < low < 0
    assert 1.5 < high < 1.7


@pytest.mark.parametrize("count", [10, 3000])
@pytest.mark.parametrize("labelled", [True, False])
def test_the_map_draws_every_dot_and_the_class_means(count: int, labelled: bool) -> None:
    points = np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32)
    labels = (np.arange(count) % 3 == 0) if labelled else None
    figure = scatter_plot(points, labels, "Smiling", subtitle="dots")
    axes = figure.axes[0]
    offsets = np.asarray(axes.collections[0].get_offsets())
    assert sorted(map(tuple, offsets.tolist())) == sorted(map(tuple, points.tolist()))
    disks = [np.asarray(line.get_xydata())[0].tolist() for line in axes.lines]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    if labels is None:
        assert disks == []
        assert texts == [f"faces ({count:,})"]
        return
    assert np.allclose(disks, [points[labels].mean(axis=0), points[~labels].mean(axis=0)])
    has = int(labels.sum())
    mean = "mean of these dots"
    assert texts == [f"Smiling ({has:,})", mean, f"not Smiling ({count - has:,})", mean]
    assert axes.get_title() == "UMAP of the latent means\ndots"


@pytest.mark.parametrize("labelled", [True, False])
def test_placed_dots_lie_over_those_of_the_map(labelled: bool) -> None:
    random = np.random.default_rng(0)
    below, points = (random.normal(size=(count, 2)).astype(np.float32) for count in (900, 30))
    labels = np.arange(30) < 10 if labelled else None
    figure = scatter_plot(points, labels, "Smiling", subtitle="", beneath=below)
    old, new = figure.axes[0].collections
    assert len(np.asarray(old.get_offsets())) == 900
    assert len(np.asarray(new.get_offsets())) == 30
    assert old.get_zorder() < new.get_zorder()
    assert len(np.unique(old.get_facecolor(), axis=0)) == 1
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    mean = "mean of these dots"
    expected = ["Smiling (10)", mean, "not Smiling (20)", mean] if labelled else ["faces (30)"]
    assert texts == [*expected, "faces of the map (900)"]
    disks = [np.asarray(line.get_xydata())[0] for line in figure.axes[0].lines]
    if labels is not None:
        assert np.allclose(disks, [points[labels].mean(axis=0), points[~labels].mean(axis=0)])  # of the new dots alone
    assert (border(pixels(plot_bytes(figure))) == 255).all()


def test_the_more_dots_the_smaller_and_paler() -> None:
    def look(count: int) -> tuple[float, float]:
        points = np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32)
        dots = scatter_plot(points, None, "", subtitle="").axes[0].collections[0]
        assert isinstance(dots, PathCollection)
        return float(dots.get_sizes()[0]), float(dots.get_alpha() or 0)

    looks = [look(count) for count in (100, 2000, 10_000, 30_000)]
    assert looks == sorted(looks, reverse=True)
    assert looks[0][0] > 10 * looks[-1][0]


@pytest.mark.parametrize("value", [True, False])
def test_a_class_without_members_has_no_disk(value: bool) -> None:
    points = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
    figure = scatter_plot(points, np.full(12, value), "Bald", subtitle="")
    assert len(figure.axes[0].lines) == 1
    plot_bytes(figure, "a.png")


def test_nothing_of_a_map_is_cropped() -> None:
    points = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32) * [10, 1]
    data = plot_bytes(scatter_plot(points.astype(np.float32), np.arange(50) % 2 > 0, LONG[:40], subtitle="50 faces"))
    assert (border(pixels(data)) == 255).all()


# ------------------------------------------------------------------------------------------ the page


def test_the_page_escapes_its_words_and_refers_relatively(tmp_path: Path) -> None:
    items = [GalleryItem(tmp_path / "a b" / "x.png", "One & <two>", "It's 1 < 2.", 'facevae morph "a.jpg"')]
    page = gallery_page("A & B", "An <em>introduction</em>.", items, tmp_path)
    assert page.startswith("<!doctype html>")
    assert "<h1>A &amp; B</h1>\n<p>An &lt;em&gt;introduction&lt;/em&gt;.</p>" in page
    assert '<a href="a b/x.png"><img src="a b/x.png" alt="One &amp; &lt;two&gt;" loading="lazy"></a>' in page
    assert "It&#x27;s 1 &lt; 2.<br><code>facevae morph &quot;a.jpg&quot;</code>" in page
    assert str(tmp_path) not in page
