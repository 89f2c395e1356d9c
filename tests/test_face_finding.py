"""The faces of pictures that a user asks for: which, from what, and what is said where they are not there."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from PIL import Image

from facevae.errors import DataError, InstallationError, MissingExtraError, UsageError, in_one_line
from facevae.model.face_finder import Face
from facevae.model.mtcnn import FaceNetworks
from facevae.storage import detector_weights
from facevae.storage.images import load_face, squashed
from facevae.workflows import face_finding
from facevae.workflows.face_finding import FaceChoice, FaceFinding, FaceOptions
from facevae.workflows.face_loading import FaceLoader, LoadedFace, load_faces, named_images
from facevae.workflows.skipped import Skipped
from helpers import FakeFaces, pixels, put_photographs, put_pictures, through_a_pipe
from support import HOPPER_EYES, Recorder, hopper

INSTALLED = find_spec("mtcnn") is not None and find_spec("lz4") is not None
needs_networks = pytest.mark.skipif(not INSTALLED, reason="the extra align is not installed")


@pytest.fixture(autouse=True)
def in_workspace(workspace: Path) -> None:
    """All names are relative to an empty folder."""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeFaces:
    return FakeFaces(monkeypatch)


@pytest.fixture
def no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where the networks are asked for."""

    def never() -> object:
        raise AssertionError("loaded")

    monkeypatch.setattr(face_finding, "load_face_networks", never)


def loaded(source: Path | bytes, size: int = 32, **options: bool | int) -> list[LoadedFace]:
    return FaceLoader(size, FaceOptions(**options)).faces_of(source)  # type: ignore[arg-type]


def refusal(work: Callable[[], object], kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as caught:
        work()
    assert type(caught.value) is kind
    return str(caught.value)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


# ------------------------------------------------------------------------------------------ what is asked for


@pytest.mark.parametrize(
    ("align", "face", "options"),
    [
        (True, None, FaceOptions()),
        (False, None, FaceOptions(align=False)),
        (True, 1, FaceOptions(which=1, asked=True)),
        (True, "1", FaceOptions(which=1, asked=True)),
        (True, " 12 ", FaceOptions(which=12, asked=True)),
        (True, "all", FaceOptions(which=0, asked=True)),
        (True, " All", FaceOptions(which=0, asked=True)),
    ],
)
def test_options(align: bool, face: FaceChoice, options: FaceOptions) -> None:
    assert FaceOptions.of(align, face) == options
    assert options.all_faces is (options.which == 0)


@pytest.mark.parametrize("face", ["0", "-1", "x", "", "1.5", "1,2", "two", "²", 0, -3])
def test_faces_that_cannot_be(face: FaceChoice) -> None:
    assert refusal(lambda: FaceOptions.of(True, face), UsageError) == (
        f"There is no face {face}: use 1 for the largest, 2 for the next, ..., or all."
    )


@given(st.one_of(st.integers(), st.text(max_size=5)))
def test_a_choice_is_a_number_from_one_on_or_all_or_refused(face: int | str) -> None:
    try:
        options = FaceOptions.of(True, face)
    except UsageError:
        return
    assert options.asked
    assert options.which == (0 if str(face).strip().casefold() == "all" else int(face))
    assert options.which >= 0


@pytest.mark.parametrize("face", [1, "all", "nonsense"])
def test_nothing_is_chosen_without_looking(face: FaceChoice) -> None:
    assert refusal(lambda: FaceOptions.of(False, face), UsageError) == (
        "--face chooses among the faces that are found: leave it out, or --no-align."
    )


def test_what_is_about_images_needs_some() -> None:
    for images in (None, [Path("a.png")]):
        assert FaceOptions.of(True, None, images) == FaceOptions()
    remedy = "is about images, and none is given: name some, or leave it out."
    assert refusal(lambda: FaceOptions.of(True, 2, None), UsageError) == f"--face {remedy}"
    assert refusal(lambda: FaceOptions.of(False, None, None), UsageError) == f"--no-align {remedy}"
    assert refusal(lambda: FaceOptions.of(False, "all", None), UsageError) == f"--face {remedy}"


# ------------------------------------------------------------------------------------------ frames as they are


@pytest.mark.usefixtures("no_networks")
@pytest.mark.parametrize("kind", ["png", "jpg", "tiff"])
@pytest.mark.parametrize(("width", "height"), [(178, 218), (89, 109), (45, 55), (64, 64), (32, 32), (16, 16)])
def test_frames_are_read_whole_without_the_networks(width: int, height: int, kind: str) -> None:
    path = Path(f"frame.{kind}")
    noise(width, height).save(path)
    for source in (path, path.read_bytes()):
        (face,) = loaded(source)
        assert np.array_equal(face.image, load_face(source, 32))
        name, short = ("stdin", "stdin") if isinstance(source, bytes) else (str(path), "frame")
        assert face == LoadedFace(face.image, name, short, source, None, None)


@pytest.mark.usefixtures("no_networks")
@pytest.mark.parametrize(("width", "height"), [(100, 80), (128, 128), (1, 1), (356, 436), (3, 700)])
def test_without_align_every_picture_is_a_frame(width: int, height: int) -> None:
    noise(width, height).save("a.png")
    (face,) = loaded(Path("a.png"), align=False)
    assert np.array_equal(face.image, load_face(Path("a.png"), 32))
    assert (face.name, face.short, face.frame, face.found) == ("a.png", "a", None, None)


@pytest.mark.usefixtures("no_networks")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_a_frame_that_is_stored_on_its_side_is_a_frame(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise(*((218, 178) if orientation > 4 else (178, 218))).save("frame", kind, exif=exif)
    (face,) = loaded(Path("frame"))
    assert face.frame is None
    assert np.array_equal(face.image, load_face(Path("frame"), 32))


@pytest.mark.parametrize(("width", "height"), [(356, 436), (128, 128)])
def test_where_the_size_leaves_it_open_the_face_tells(fake: FakeFaces, width: int, height: int) -> None:
    picture = np.array(noise(width, height))
    picture[0, 0] = 1
    Image.fromarray(picture).save("a.png")
    (photo,) = loaded(Path("a.png"))
    assert photo.frame is not None
    assert np.array_equal(photo.frame, fake.frame(Path("a.png")))
    fake.frames = True
    (frame,) = loaded(Path("a.png"))
    assert frame.frame is None
    assert np.array_equal(frame.image, load_face(Path("a.png"), 32))
    assert fake.loaded == 2


# ------------------------------------------------------------------------------------------ faces of photographs


def test_the_face_of_a_photograph_is_aligned(fake: FakeFaces) -> None:
    (path,) = put_photographs(Path("in"), 1)
    (face,) = loaded(path)
    frame = fake.frame(path)
    assert frame.std() > 10  # or a wrong frame would look the same
    assert face.frame is not None
    assert np.array_equal(face.frame, frame)
    assert np.array_equal(face.image, squashed(Image.fromarray(frame), 32))
    assert not np.array_equal(face.image, load_face(path, 32))
    assert (face.name, face.short, face.source) == ("in/photo1.png", "photo1", path)
    assert face.found is not None
    assert face.found.to_frame == fake.face(1).to_frame


@pytest.mark.parametrize(("size", "shape"), [(128, (218, 178)), (178, (218, 178)), (256, (314, 256))])
def test_a_network_of_larger_faces_gets_a_larger_frame(fake: FakeFaces, size: int, shape: tuple[int, int]) -> None:
    (path,) = put_photographs(Path("in"), 1)
    (face,) = loaded(path, size)
    assert face.image.shape == (size, size, 3)
    assert face.frame is not None
    assert face.frame.shape == (*shape, 3)
    small = np.array(Image.fromarray(face.image).resize((32, 32), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - loaded(path)[0].image).mean() < 2


def stored(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """What a camera stores for a picture that the orientation, by the EXIF standard, makes upright."""
    sideways = upright.transpose(1, 0, 2) if orientation > 4 else upright
    rows, columns = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1)}[(orientation - 1) % 4 + 1]
    if orientation > 4:
        rows, columns = {5: (1, 1), 6: (-1, 1), 7: (-1, -1), 8: (1, -1)}[orientation]
    return np.ascontiguousarray(sideways[::rows, ::columns])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_on_its_side_gives_the_face_of_the_upright_one(
    fake: FakeFaces, kind: str, orientation: int
) -> None:
    (path,) = put_photographs(Path("in"), 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(stored(pixels(path), orientation)).save("turned", kind, exif=exif, **lossless)
    (upright,), (turned,) = loaded(path), loaded(Path("turned"))
    assert np.array_equal(turned.image, upright.image)


def test_the_largest_of_several_is_taken_and_told(fake: FakeFaces) -> None:
    paths = put_photographs(Path("in"), 1, 3, 2)
    report = Recorder()
    (face,) = load_faces(paths[1:2], 32, FaceOptions(), report)
    assert (face.name, face.short) == ("in/photo2.png", "photo2")
    assert np.array_equal(face.image, squashed(Image.fromarray(fake.frame(paths[1])), 32))
    assert report.notices == ["in/photo2.png has 3 faces: the largest is taken; --face 2 takes the next."]
    report = Recorder()
    assert len(load_faces(paths, 32, FaceOptions(), report)) == 3
    assert report.notices == [
        "2 pictures have several faces, such as in/photo2.png with 3: of each the largest is taken; "
        "--face all takes every one."
    ]


@pytest.mark.parametrize("which", [1, "1", 2, "all"])
def test_nothing_is_told_of_what_was_asked_for(fake: FakeFaces, which: FaceChoice) -> None:
    report = Recorder()
    load_faces(put_photographs(Path("in"), 3, 2), 32, FaceOptions.of(True, which), report)
    load_faces(put_pictures(Path("frames"), 2), 32, FaceOptions(), report)
    assert report.notices == []


@pytest.mark.parametrize(
    ("which", "count", "marks"),
    [
        (1, 3, [""]),
        (2, 3, ["#2"]),
        (3, 3, ["#3"]),
        (0, 3, ["#1", "#2", "#3"]),
        (0, 1, [""]),
        (1, 1, [""]),
    ],
)
def test_which_faces_are_taken_and_what_they_are_called(
    fake: FakeFaces, which: int, count: int, marks: list[str]
) -> None:
    (path,) = put_photographs(Path("in"), count)
    for source, name, short in ((path, "in/photo1.png", "photo1"), (path.read_bytes(), "stdin", "stdin")):
        faces = loaded(source, which=which, asked=True)
        assert [face.name for face in faces] == [name + mark for mark in marks]
        assert [face.short for face in faces] == [f"{short} {mark}".strip() for mark in marks]
        for face, mark in zip(faces, marks, strict=True):
            frame = fake.frame(path, int(mark[1:] or 1))
            assert np.array_equal(face.image, squashed(Image.fromarray(frame), 32))
    named = named_images(faces)
    assert named.images.shape == (len(marks), 32, 32, 3)
    assert named.names == [face.short for face in faces]


def test_a_face_that_is_not_there(fake: FakeFaces) -> None:
    one, two, none = put_photographs(Path("in"), 1, 2, 0)
    assert refusal(lambda: loaded(one, which=2, asked=True)) == (
        "in/photo1.png has only one face, and no number 2: leave --face out."
    )
    assert refusal(lambda: loaded(two.read_bytes(), which=9, asked=True)) == (
        "stdin has only 2 faces, and no number 9: use --face with 1 to 2, or all."
    )
    for which in (0, 1, 5):
        assert refusal(lambda which=which: loaded(none, which=which)) == (  # type: ignore[misc]
            "No face of 20 pixels or more was found in in/photo3.png: crop it closer, or use --no-align to take the whole "
            "picture as CelebA's frame."
        )
    Image.new("RGB", (2500, 2000)).save("large.png")
    assert refusal(lambda: loaded(Path("large.png"))).startswith("No face of 100 pixels or more was found in large.png")


def test_the_networks_are_loaded_once_for_the_first_photograph(fake: FakeFaces) -> None:
    frames, photographs = put_pictures(Path("frames"), 2), put_photographs(Path("in"), 1, 2)
    finding = FaceFinding(FaceOptions())
    assert [finding.photograph(frame, "a") for frame in frames] == [None, None]
    assert fake.loaded == 0
    for photograph in photographs:
        assert finding.photograph(photograph, "a") is not None
    assert fake.loaded == 1


def test_faces_are_found_by_one_thread(fake: FakeFaces, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many would mostly wait for each other; and so a face does not depend on how many there are."""
    photo, none = put_photographs(Path("in"), 1, 0)
    counts = []
    locate = face_finding.locate_faces  # type: ignore[attr-defined]

    def counted(networks: FaceNetworks, pixels: NDArray[np.uint8]) -> list[Face]:
        counts.append(torch.get_num_threads())
        return list(locate(networks, pixels))

    monkeypatch.setattr(face_finding, "locate_faces", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        loaded(photo)
        refusal(lambda: loaded(none))
        assert (counts, torch.get_num_threads()) == ([1, 1], 3)
    finally:
        torch.set_num_threads(before)


def test_a_frame_has_no_second_face() -> None:
    (frame,) = put_pictures(Path("frames"), 1)
    for which in (1, "all"):
        (face,) = load_faces([frame], 32, FaceOptions.of(True, which), Recorder())
        assert face.name == "frames/face1.png"
    with pytest.raises(DataError) as error:
        load_faces([frame], 32, FaceOptions.of(True, 2), Recorder())
    assert str(error.value) == "frames/face1.png is CelebA's frame with one face, and no number 2: leave --face out."


def test_damaged_networks_are_not_taken_for_a_damaged_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged() -> None:
        raise DataError("onet.lz4 is damaged.")

    monkeypatch.setattr(face_finding, "load_face_networks", damaged)
    loader = FaceLoader(32, FaceOptions())
    with pytest.raises(InstallationError, match=r"^onet\.lz4 is damaged\.$"):
        list(loader.batches(put_photographs(Path("in"), 1, 1), 8, [], strict=False))


@pytest.mark.parametrize("options", [{}, {"which": 2}, {"align": False}])
def test_a_pipe_is_read_once(fake: FakeFaces, options: dict[str, bool | int]) -> None:
    (path,) = put_photographs(Path("in"), 2)
    (frame,) = put_pictures(Path("frames"), 1)
    sources = (path,) if options.get("which") else (path, frame)
    for number, source in enumerate(sources):
        pipe = Path(f"pipe{number}.png")
        writer = through_a_pipe(pipe, source.read_bytes())
        (piped,), (plain,) = loaded(pipe, **options), loaded(source, **options)
        writer.join(timeout=10)
        assert np.array_equal(piped.image, plain.image)
        assert piped.name.partition("#")[0] == f"pipe{number}.png"
        assert piped.source == source.read_bytes()


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "a\0b.png", "file/beneath.png"])
def test_names_that_no_file_can_have(fake: FakeFaces, name: str) -> None:
    Path("file").touch()
    for align in (True, False):
        assert f"{in_one_line(name)} cannot be read: " in refusal(lambda align=align: loaded(Path(name), align=align))  # type: ignore[misc]


# ------------------------------------------------------------------------------------------ batches


def batches(sources: Sequence[Path], size: int, *, strict: bool = False) -> tuple[list[list[str]], list[Skipped], int]:
    skipped: list[Skipped] = []
    loader = FaceLoader(32, FaceOptions(which=0, asked=True))
    found = list(loader.batches(sources, size, skipped, strict=strict))
    assert all(face.frame is None for batch in found for face in batch)  # they would add up
    return [[face.name for face in batch] for batch in found], skipped, loader.read


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_batches_hold_faces_not_pictures(fake: FakeFaces, size: int) -> None:
    paths = [*put_photographs(Path("in"), 3, 0, 1, 2), *put_pictures(Path("frames"), 1), Path("missing.png")]
    found, skipped, read = batches(paths, size)
    names = ["photo1.png#1", "photo1.png#2", "photo1.png#3", "photo3.png", "photo4.png#1", "photo4.png#2"]
    names = [f"in/{name}" for name in names] + ["frames/face1.png"]
    assert [name for batch in found for name in batch] == names
    assert [len(batch) for batch in found] == [min(size, 7 - start) for start in range(0, 7, size)]
    assert skipped == [
        Skipped(
            "in/photo2.png",
            "No face of 20 pixels or more was found in in/photo2.png: crop it closer, or use --no-align to take the "
            "whole picture as CelebA's frame.",
        ),
        Skipped("missing.png", "There is no file missing.png. Check its name and folder."),
    ]
    assert read == 6


def test_strict_batches_stop_at_the_first(fake: FakeFaces) -> None:
    paths = put_photographs(Path("in"), 1, 0)
    assert refusal(lambda: batches(paths, 1, strict=True)).startswith("No face of 20 pixels or more was found in in/p")


# ------------------------------------------------------------------------------------------ without the extra


def test_without_the_extra_only_frames_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_weights, "find_spec", lambda name: None)
    (frame,), (photo,) = put_pictures(Path("frames"), 1, size=64), put_photographs(Path("in"), 1)
    assert np.array_equal(loaded(frame)[0].image, load_face(frame, 32))
    assert np.array_equal(loaded(photo, align=False)[0].image, load_face(photo, 32))
    sentence = (
        'Finding the face in in/photo1.png needs the extra align: pip install "facevae[align]", or use --no-align to take '
        "the whole picture as CelebA's frame."
    )
    assert refusal(lambda: loaded(photo), MissingExtraError) == sentence
    # It is no fault of the picture: it is not left out, and the next ones neither.
    assert refusal(lambda: batches([frame, photo], 8), MissingExtraError) == sentence


# ------------------------------------------------------------------------------------------ the networks themselves


@pytest.fixture(scope="module")
def photograph() -> NDArray[np.uint8]:
    """A photograph with a face of about 100 pixels, whose eyes are at half of `HOPPER_EYES`."""
    return np.asarray(Image.fromarray(hopper()).reduce(2))


def found_in(path: Path, **options: bool | int) -> Face:
    (face,) = loaded(path, **options)
    assert face.found is not None
    return face.found


def check_eyes(face: Face, eyes: NDArray[np.float64], part: float = 0.05) -> None:
    distance = float(np.linalg.norm(eyes[1] - eyes[0]))
    assert_allclose(face.landmarks[:2], eyes, atol=part * distance, rtol=0)


@needs_networks
@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.jpg", "CMYK", {}),
        ("a.jpg", "L", {}),
        ("a.png", "RGBA", {}),
        ("a.gif", "P", {"save_all": True}),
        ("a.webp", "RGB", {"quality": 60}),
        ("a.tiff", "RGB", {"compression": "jpeg"}),
    ],
)
def test_photographs_of_every_kind(
    photograph: NDArray[np.uint8], name: str, mode: str, options: dict[str, Any]
) -> None:
    picture = Image.fromarray(photograph)
    if mode == "RGBA":  # cut out: what lies around the head is transparent
        alpha = np.zeros(photograph.shape[:2], dtype=np.uint8)
        alpha[20:210, 55:215] = 255
        picture.putalpha(Image.fromarray(alpha))
    picture = picture.convert(mode)
    if "save_all" in options:
        options = options | {"append_images": [Image.new("P", picture.size)]}
    picture.save(name, **options)
    check_eyes(found_in(Path(name)), HOPPER_EYES / 2, 0.06)


@needs_networks
def test_a_photograph_on_its_side_as_cameras_write_it(photograph: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photograph).save("upright.jpg", quality=95)
    Image.fromarray(stored(photograph, 6)).save("turned.jpg", quality=95, exif=exif)
    turned = found_in(Path("turned.jpg"))
    check_eyes(turned, HOPPER_EYES / 2)
    assert abs(turned.to_frame.degrees) < 5
    images = [loaded(Path(name))[0].image.astype(int) for name in ("upright.jpg", "turned.jpg")]
    assert np.abs(images[0] - images[1]).mean() < 2


@needs_networks
def test_pictures_without_a_face() -> None:
    noise(160, 120).save("noise.png")
    Image.new("RGB", (1, 1)).save("pixel.png")
    for name in ("noise.png", "pixel.png"):
        assert refusal(lambda name=name: loaded(Path(name))) == (  # type: ignore[misc]
            f"No face of 20 pixels or more was found in {name}: crop it closer, or use --no-align to take the whole "
            "picture as CelebA's frame."
        )


@needs_networks
def test_a_panorama() -> None:
    """A face of 130 pixels in a picture of 20,000 x 600, of which nothing so large is ever made as floating-point numbers."""
    panorama = np.full((600, 20_000, 3), (90, 120, 150), dtype=np.uint8)
    panorama[:, 9000:9512] = hopper()
    stream = io.BytesIO()
    Image.fromarray(panorama).save(stream, "JPEG", quality=90)
    (face,) = loaded(stream.getvalue())
    assert face.found is not None
    check_eyes(face.found, np.add(HOPPER_EYES, [9000, 0]))
