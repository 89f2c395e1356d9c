"""Drawn faces: what the labels say is what is drawn, and the data set reads as CelebA does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from facevae.drawing import (
    ATTRIBUTE_NAMES,
    MARKER_NAME,
    FaceTraits,
    attributes_of,
    draw_face,
    random_traits,
    write_drawn_faces,
)
from facevae.errors import DataError, UsageError
from facevae.progress import Event, Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELEBA_HEADER = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male "
    "Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks "
    "Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace "
    "Wearing_Necktie Young"
)
MAN = FaceTraits(male=True, hair_length=0.05, jaw=0.7, brow_thickness=0.5, hair_colour="black")
WOMAN = FaceTraits()

# Rows and columns of the 178x218 frame.
MOUTH = (slice(132, 178), slice(55, 122))
EYES = (slice(92, 130), slice(38, 139))
TOP = (slice(20, 75), slice(30, 147))
NECK = (slice(178, 218), slice(55, 122))
LOWER_FACE = (slice(90, 190), slice(30, 147))


def pixels(traits: FaceTraits) -> NDArray[np.float64]:
    return np.asarray(draw_face(traits), dtype=np.float64)


@pytest.fixture(scope="module")
def labels() -> dict[str, NDArray[np.bool_]]:
    rows = [attributes_of(random_traits(np.random.default_rng([5, number]))) for number in range(3000)]
    return {name: np.array([row[name] for row in rows]) for name in ATTRIBUTE_NAMES}


def test_names_are_those_of_celeba_in_its_order() -> None:
    assert " ".join(ATTRIBUTE_NAMES) == CELEBA_HEADER
    assert tuple(attributes_of(WOMAN)) == ATTRIBUTE_NAMES


def test_every_attribute_occurs_and_is_missing(labels: dict[str, NDArray[np.bool_]]) -> None:
    for name, values in labels.items():
        assert 30 <= values.sum() <= 2970, name


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("Male", 0.38, 0.46),
        ("Smiling", 0.44, 0.52),
        ("Young", 0.73, 0.81),
        ("Attractive", 0.46, 0.56),
        ("Eyeglasses", 0.12, 0.18),
        ("Blond_Hair", 0.14, 0.22),
        ("Bald", 0.025, 0.06),
        ("Heavy_Makeup", 0.35, 0.45),
        ("Wearing_Lipstick", 0.42, 0.52),
        ("No_Beard", 0.78, 0.87),
    ],
)
def test_rates(labels: dict[str, NDArray[np.bool_]], name: str, low: float, high: float) -> None:
    assert low <= labels[name].mean() <= high


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ("Attractive", "Young", 0.25, 0.5),
        ("Attractive", "Heavy_Makeup", 0.35, 0.6),
        ("Attractive", "Male", -0.6, -0.3),
        ("Attractive", "Chubby", -0.4, -0.1),
        ("Smiling", "High_Cheekbones", 0.5, 0.75),
        ("Smiling", "Mouth_Slightly_Open", 0.6, 0.8),
        ("Heavy_Makeup", "Wearing_Lipstick", 0.7, 0.95),
        ("Gray_Hair", "Young", -0.5, -0.2),
        ("Bald", "Male", 0.15, 0.35),
        ("Wearing_Earrings", "Male", -0.5, -0.25),
    ],
)
def test_correlations(labels: dict[str, NDArray[np.bool_]], first: str, second: str, low: float, high: float) -> None:
    assert low <= np.corrcoef(labels[first], labels[second])[0, 1] <= high


def test_labels_do_not_contradict_each_other(labels: dict[str, NDArray[np.bool_]]) -> None:
    colours = sum(labels[name].astype(int) for name in ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair"))
    assert np.max(colours) == 1
    assert not np.any(labels["Bald"] & (colours > 0))
    for name in ("5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns"):
        assert not np.any(labels[name] & (labels["No_Beard"] | ~labels["Male"])), name
    assert not np.any(labels["Straight_Hair"] & labels["Wavy_Hair"])
    assert not np.any(labels["Bangs"] & (labels["Bald"] | labels["Wearing_Hat"]))


def test_what_is_hidden_is_not_claimed() -> None:
    under_hat = attributes_of(replace(MAN, hat="cap", bald=True, bangs=True, receding=True))
    assert not any(under_hat[name] for name in ("Bald", "Bangs", "Receding_Hairline", "Straight_Hair", "Wavy_Hair"))
    behind_sunglasses = attributes_of(replace(MAN, glasses="sun", eye_bags=1.0, eye_openness=0.1))
    assert not any(behind_sunglasses[name] for name in ("Bags_Under_Eyes", "Narrow_Eyes"))


def test_equal_traits_give_equal_pictures_of_the_size_asked_for() -> None:
    assert random_traits(np.random.default_rng([0, 3])) == random_traits(np.random.default_rng([0, 3]))
    face = draw_face(random_traits(np.random.default_rng([0, 3])))
    again = draw_face(random_traits(np.random.default_rng([0, 3])))
    assert (face.size, face.mode) == ((178, 218), "RGB")
    assert face.tobytes() == again.tobytes()
    assert draw_face(WOMAN, (64, 64)).size == (64, 64)


def test_eyes_lie_where_celeba_aligns_them() -> None:
    """The pupils are the darkest things near the middle of an eye, and they stay within 3 pixels whatever the pose."""
    poses: list[dict[str, Any]] = [
        {},
        {"roll": 4.0, "scale": 1.04},
        {"yaw": 1.0, "roll": -4.0, "scale": 0.97, "offset_x": -1.2},
    ]
    for pose in poses:
        grey = np.asarray(draw_face(replace(MAN, skin=0.1, eye_openness=1.0, **pose)).convert("L"), dtype=np.float64)
        for x in (69, 108):
            window = grey[105:118, x - 6 : x + 7]
            rows, columns = np.nonzero(window < window.min() + 25)
            assert abs(columns.mean() - 6) <= 3
            assert abs(rows.mean() + 105 - 111) <= 3


@pytest.mark.parametrize(
    ("base", "change", "region", "attribute"),
    [
        (WOMAN, {"mouth_curve": 0.8, "mouth_open": 0.7}, LOWER_FACE, "Smiling"),
        (MAN, {"mouth_curve": 0.8}, LOWER_FACE, "Smiling"),
        (WOMAN, {"mouth_open": 0.8}, MOUTH, "Mouth_Slightly_Open"),
        (WOMAN, {"lipstick": True}, MOUTH, "Wearing_Lipstick"),
        (WOMAN, {"lip_fullness": 0.9}, MOUTH, "Big_Lips"),
        (MAN, {"mustache": True}, MOUTH, "Mustache"),
        (MAN, {"stubble": True}, LOWER_FACE, "5_o_Clock_Shadow"),
        (MAN, {"glasses": "clear"}, EYES, "Eyeglasses"),
        (MAN, {"glasses": "sun"}, EYES, "Eyeglasses"),
        (WOMAN, {"makeup": 0.9}, EYES, "Heavy_Makeup"),
        (WOMAN, {"eye_openness": 0.1}, EYES, "Narrow_Eyes"),
        (MAN, {"receding": True}, TOP, "Receding_Hairline"),
        (WOMAN, {"necklace": True}, NECK, "Wearing_Necklace"),
    ],
)
def test_one_trait_changes_the_picture_where_it_should(
    base: FaceTraits, change: dict[str, Any], region: tuple[slice, slice], attribute: str
) -> None:
    changed = replace(base, **change)
    assert (attributes_of(base)[attribute], attributes_of(changed)[attribute]) == (False, True)
    difference = np.abs(pixels(changed) - pixels(base)).mean(axis=2)
    assert difference[region].max() > 40
    assert difference[region].sum() > 0.9 * difference.sum()


def test_hair_colour_shows_on_top_and_not_in_the_face() -> None:
    dark, fair = pixels(replace(WOMAN, hair_colour="black")), pixels(replace(WOMAN, hair_colour="blond"))
    difference = np.abs(fair - dark).mean(axis=2)
    assert difference[38:50, 75:100].mean() > 90
    assert difference[118:170, 65:110].mean() < 1


def test_a_smile_shows_teeth_and_lifts_the_corners_of_the_mouth() -> None:
    neutral, smile = pixels(WOMAN), pixels(replace(WOMAN, mouth_curve=0.9, mouth_open=0.8))
    assert smile[148:156, 82:96].mean() > neutral[148:156, 82:96].mean() + 50
    difference = np.abs(smile - neutral).mean(axis=2)
    assert difference[MOUTH].mean() > 10 * (difference.sum() - difference[MOUTH].sum()) / difference.size
    closed = pixels(replace(WOMAN, mouth_curve=0.9)).mean(axis=2)
    rows = np.arange(140, 165)
    darkest = [rows[np.argmin(closed[140:165, x])] for x in (67, 88, 110)]
    assert darkest[1] - max(darkest[0], darkest[2]) >= 4


@pytest.mark.slow
def test_a_linear_probe_finds_the_attributes_at_32_pixels() -> None:
    """What a model is to learn must still be there at 32x32: ridge regression on the raw pixels finds it."""
    faces = [random_traits(np.random.default_rng([11, number])) for number in range(800)]
    flat = [np.asarray(draw_face(face).resize((32, 32), Image.Resampling.BILINEAR)).ravel() for face in faces]
    pictures = np.array(flat, dtype=np.float64) / 255
    pictures -= pictures[:600].mean(axis=0)
    gram = pictures @ pictures[:600].T
    for name, margin in (("Smiling", 0.25), ("Eyeglasses", 0.06), ("Male", 0.3), ("Blond_Hair", 0.06)):
        signs = np.array([1.0 if attributes_of(face)[name] else -1.0 for face in faces])
        middle = signs[:600].mean()
        dual = np.linalg.lstsq(gram[:600] + 10.0 * np.eye(600), signs[:600] - middle, rcond=None)[0]
        right = np.mean((gram[600:] @ dual + middle > 0) == (signs[600:] > 0))
        majority = max(np.mean(signs[600:] > 0), np.mean(signs[600:] < 0))
        assert right > majority + margin, (name, right, majority)


def test_layout_is_that_of_celeba(tmp_path: Path) -> None:
    events: list[Event] = []
    directory = tmp_path / "made" / "faces"
    assert write_drawn_faces(directory, 40, seed=3, report=events.append) == directory
    assert events == [Progress(stage="draw", done=number, total=40) for number in range(1, 41)]
    names = [f"{number:06d}.jpg" for number in range(1, 41)]
    assert sorted(path.name for path in directory.iterdir()) == sorted(
        [MARKER_NAME, "img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt"]
    )
    assert sorted(path.name for path in (directory / "img_align_celeba").iterdir()) == names
    with Image.open(directory / "img_align_celeba" / "000001.jpg") as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (178, 218), "RGB")

    lines = (directory / "list_attr_celeba.txt").read_text().split("\n")
    assert lines[0] == "40"
    assert lines[1] == CELEBA_HEADER + " "
    for name, line in zip(names, lines[2:42], strict=True):
        traits = random_traits(np.random.default_rng([3, int(name[:6])]))
        assert line == name + "".join(" " + ("-1", " 1")[value] for value in attributes_of(traits).values())
    assert lines[42:] == [""]

    partition = (directory / "list_eval_partition.txt").read_text()
    splits = [0] * 34 + [1] * 4 + [2] * 2
    assert partition == "".join(f"{name} {split}\n" for name, split in zip(names, splits, strict=True))


def test_a_face_depends_on_seed_and_number_alone(tmp_path: Path) -> None:
    few = write_drawn_faces(tmp_path / "few", 2, seed=1) / "img_align_celeba"
    more = write_drawn_faces(tmp_path / "more", 4, seed=1) / "img_align_celeba"
    other = write_drawn_faces(tmp_path / "other", 2, seed=2) / "img_align_celeba"
    for name in ("000001.jpg", "000002.jpg"):
        assert (few / name).read_bytes() == (more / name).read_bytes() != (other / name).read_bytes()


def test_drawing_again_leaves_nothing_of_the_earlier_faces(tmp_path: Path) -> None:
    write_drawn_faces(tmp_path / "again", 5, seed=1)
    write_drawn_faces(tmp_path / "again", 2, seed=2)
    write_drawn_faces(tmp_path / "fresh", 2, seed=2)
    for path in sorted((tmp_path / "fresh").rglob("*.*")):
        assert (tmp_path / "again" / path.relative_to(tmp_path / "fresh")).read_bytes() == path.read_bytes()
    assert len(list((tmp_path / "again" / "img_align_celeba").iterdir())) == 2


def test_a_run_cut_short_leaves_no_lists_and_can_be_repeated(tmp_path: Path) -> None:
    write_drawn_faces(tmp_path, 3)

    def stop_at_second(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_drawn_faces(tmp_path, 4, report=stop_at_second)
    assert not list(tmp_path.glob("list_*"))
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["000001.jpg", "000002.jpg", MARKER_NAME]
    write_drawn_faces(tmp_path, 4)
    assert (tmp_path / "list_attr_celeba.txt").read_text().startswith("4\n")


@pytest.mark.parametrize("name", ["list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba"])
def test_real_data_is_never_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError) as caught:
        write_drawn_faces(tmp_path, 2)
    assert str(caught.value) == (
        f"{tmp_path} already holds {name}, which facevae did not draw: "
        "name another folder, so that nothing of yours is overwritten."
    )
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_real_data_unpacked_over_drawn_faces_is_respected(tmp_path: Path) -> None:
    write_drawn_faces(tmp_path, 2)
    (tmp_path / "list_attr_celeba.txt").write_text("202599\n" + CELEBA_HEADER + "\n")
    with pytest.raises(UsageError) as caught:
        write_drawn_faces(tmp_path, 2)
    assert str(caught.value) == (
        f"{tmp_path / 'list_attr_celeba.txt'} is not the list that facevae wrote there: "
        "name another folder, so that nothing of yours is overwritten."
    )
    assert (tmp_path / "img_align_celeba" / "000001.jpg").exists()


def test_a_marker_by_someone_else_is_respected(tmp_path: Path) -> None:
    (tmp_path / MARKER_NAME).write_text("my notes on drawn faces")
    with pytest.raises(UsageError) as caught:
        write_drawn_faces(tmp_path, 2)
    assert str(caught.value) == (
        f"{tmp_path / MARKER_NAME} was not written by facevae: "
        "name another folder, so that nothing of yours is overwritten."
    )


@pytest.mark.parametrize(
    ("count", "seed", "message"),
    [
        (0, 0, "cannot draw 0 faces: ask for 1 or more."),
        (-3, 0, "cannot draw -3 faces: ask for 1 or more."),
        (1_000_000, 0, "cannot draw 1000000 faces: CelebA's six-digit file names end at 999999."),
        (1, -1, "the seed -1 is negative: give 0 or a larger whole number."),
    ],
)
def test_impossible_requests(tmp_path: Path, count: int, seed: int, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        write_drawn_faces(tmp_path / "faces", count, seed=seed)
    assert str(caught.value) == message
    assert not (tmp_path / "faces").exists()


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "faces").write_text("")
    with pytest.raises(UsageError) as caught:
        write_drawn_faces(tmp_path / "faces", 1)
    assert str(caught.value) == f"{tmp_path / 'faces'} is a file: name a folder for the drawn faces."


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    directory = tmp_path / "file" / "faces"
    with pytest.raises(DataError) as caught:
        write_drawn_faces(directory, 1)
    assert str(caught.value) == (
        f"cannot write drawn faces to {directory}: Not a directory. Name a folder you may write to."
    )
