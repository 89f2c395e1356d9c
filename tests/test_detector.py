"""MTCNN: the parts by small examples, and the whole, where the extra `align` is installed, on a photograph and drawn faces."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from PIL import Image
from torch import nn

import support
from facevae.drawing import draw_face
from facevae.drawing.dataset import drawn_traits
from facevae.errors import DataError, UsageError
from facevae.model import detector, face_finder
from facevae.model.alignment import FRAME_EYES, FRAME_HEIGHT, FRAME_WIDTH, Similarity
from facevae.model.detector import Detection, crops, detect, on_windows, shifted, smallest_face, squared, surest
from facevae.model.face_finder import Face, align_face, is_celeba_frame, locate_faces
from facevae.model.mtcnn import FaceNetworks, ProposalNetwork, normalised, output_network, refine_network
from facevae.model.warping import warped
from facevae.storage import detector_weights
from facevae.storage.detector_weights import load_face_networks
from support import HOPPER_EYES

INSTALLED = find_spec("mtcnn") is not None and find_spec("lz4") is not None
needs_weights = pytest.mark.skipif(not INSTALLED, reason="the extra align is not installed")


@pytest.fixture(scope="module")
def networks() -> FaceNetworks:
    if not INSTALLED:
        pytest.skip("the extra align is not installed")
    return load_face_networks()


@pytest.fixture(scope="module")
def hopper() -> NDArray[np.uint8]:
    return support.hopper()


def untrained() -> FaceNetworks:
    """The cascade with random weights, which finds what it likes."""
    torch.manual_seed(0)
    built = FaceNetworks(ProposalNetwork(), refine_network(), output_network())
    for network in built[:3]:
        network.eval()
    return built


# ------------------------------------------------------------------------------------------ the networks


def test_the_networks_have_the_paper_s_numbers_of_weights() -> None:
    """As published for the usual implementations, PReLU with one slope for each channel."""
    assert [sum(one.numel() for one in network.parameters()) for network in untrained()[:3]] == [
        6_632,
        100_178,
        389_040,
    ]


@pytest.mark.parametrize(("height", "width", "rows", "columns"), [(12, 12, 1, 1), (13, 12, 2, 1), (14, 40, 2, 15)])
def test_the_proposal_network_sees_every_other_window(height: int, width: int, rows: int, columns: int) -> None:
    scores, shifts = untrained().proposal(torch.zeros(1, 3, height, width))
    assert scores.shape == (rows, columns)
    assert shifts.shape == (4, rows, columns)


@pytest.mark.parametrize("count", [0, 3])
def test_what_the_window_networks_give(count: int) -> None:
    networks = untrained()
    refined = networks.refine(torch.zeros(count, 3, 24, 24))
    assert [tuple(part.shape) for part in refined] == [(count,), (count, 4), (count, 0, 2)]
    located = networks.output(torch.zeros(count, 3, 48, 48))
    assert [tuple(part.shape) for part in located] == [(count,), (count, 4), (count, 5, 2)]


def test_landmarks_come_as_points() -> None:
    """The last layer gives five x, then five y."""
    network = output_network()
    assert network.landmarks is not None
    nn.init.zeros_(network.landmarks.weight)
    with torch.no_grad():
        network.landmarks.bias.copy_(torch.arange(10.0))
    assert network(torch.zeros(1, 3, 48, 48)).landmarks[0].tolist() == [[0, 5], [1, 6], [2, 7], [3, 8], [4, 9]]


def test_pixels_are_centred() -> None:
    assert normalised(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-127.5 / 128, 127.5 / 128]


# ------------------------------------------------------------------------------------------ boxes


def naive_surest(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float, nested: bool) -> list[int]:
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        for other in kept:
            left, top = np.maximum(boxes[index, :2], boxes[other, :2])
            right, bottom = np.minimum(boxes[index, 2:], boxes[other, 2:])
            shared = max(right - left, 0) * max(bottom - top, 0)
            one, two = (np.prod(boxes[number, 2:] - boxes[number, :2]) for number in (index, other))
            if shared > threshold * (min(one, two) if nested else one + two - shared):
                break
        else:
            kept.append(index)
    return kept


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.booleans())
def test_the_surest_boxes_are_those_of_the_plain_loop(seed: int, count: int, nested: bool) -> None:
    random = np.random.default_rng(seed)
    corners = random.integers(0, 40, (count, 2))
    boxes = np.concatenate([corners, corners + random.integers(1, 30, (count, 2))], axis=1).astype(np.float32)
    scores = random.integers(0, 5, count).astype(np.float32)  # some are equal
    found = surest(torch.from_numpy(boxes), torch.from_numpy(scores), 0.4, nested=nested)
    assert found == naive_surest(boxes, scores, 0.4, nested)


def test_a_box_within_another_falls_only_where_nested_ones_do() -> None:
    boxes, scores = torch.tensor([[0.0, 0, 100, 100], [40, 40, 60, 60]]), torch.tensor([0.8, 0.9])
    assert surest(boxes, scores, 0.5) == [1, 0]
    assert surest(boxes, scores, 0.5, nested=True) == [1]


def test_at_most_a_thousand_boxes_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "_MOST_WINDOWS", 3)
    boxes = torch.arange(10.0)[:, None] * 20 + torch.tensor([0.0, 0, 10, 10])
    assert surest(boxes, torch.arange(10.0), 0.5) == [9, 8, 7]


def test_boxes_are_squared_shifted_and_measured() -> None:
    boxes = torch.tensor([[10.0, 20, 30, 60]])
    assert squared(boxes).tolist() == [[0, 20, 40, 60]]
    assert shifted(boxes, torch.tensor([[0.1, -0.1, 0.5, 0.25]])).tolist() == [[12, 16, 40, 70]]
    assert on_windows(torch.tensor([[[0.0, 0.5], [1.0, 0.25]]]), boxes).tolist() == [[[10, 40], [30, 30]]]


def test_crops_are_black_beyond_the_borders() -> None:
    picture = torch.full((1, 3, 20, 30), 200.0)
    windows = torch.tensor([[0.0, 0, 8, 8], [-4, -4, 4, 4], [26, 16, 34, 24], [40, 40, 48, 48], [-9, -9, -1, -1]])
    found = crops(picture, windows, 8)[:, 0]
    assert (found[0] == 200).all()
    assert (found[1, 4:, 4:] == 200).all()
    assert found[1].sum() == found[2].sum() == 16 * 200
    assert (found[2, :4, :4] == 200).all()
    assert (found[3:] == 0).all()


@pytest.mark.parametrize(
    ("height", "width", "smallest"),
    [(30, 40, 20), (400, 3000, 20), (3000, 4000, 150), (1000, 20_000, 50), (600, 320_000, 12 * 12**0.5)],
)
def test_the_smallest_face_follows_from_the_size_of_the_picture(height: int, width: int, smallest: float) -> None:
    assert smallest_face(height, width) == pytest.approx(smallest)


@pytest.mark.parametrize("shape", [(1, 1), (11, 900), (900, 11), (19, 19), (40, 2000)])
def test_pictures_of_any_shape_are_looked_at(shape: tuple[int, int]) -> None:
    """Untrained networks take about half of all windows for faces: more than any picture has."""
    for found in detect(untrained(), np.zeros((*shape, 3), dtype=np.uint8)):
        assert found.landmarks.shape == (5, 2)
        assert np.isfinite(found.landmarks).all()


# ------------------------------------------------------------------------------------------ the extra


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_weights, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as error:
        load_face_networks()
    assert str(error.value) == 'Finding faces needs the extra align: pip install "facevae[align]".'


def test_without_lz4_the_error_names_the_extra_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(detector_weights, "_weights_folder", lambda: tmp_path)
    monkeypatch.setitem(sys.modules, "lz4", None)
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    with pytest.raises(UsageError) as error:
        load_face_networks()
    assert str(error.value) == detector_weights.MISSING


@needs_weights
def test_missing_and_damaged_weights_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(detector_weights._weights_folder(), folder)
    monkeypatch.setattr(detector_weights, "_weights_folder", lambda: folder)
    path = folder / "rnet.lz4"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DataError) as error:
        load_face_networks()
    assert str(error.value) == (
        f"{path}, which holds weights of the face detector, is damaged or not of mtcnn 1.0.0: "
        'pip install --force-reinstall "facevae[align]".'
    )
    path.unlink()
    with pytest.raises(DataError) as error:
        load_face_networks()
    assert str(error.value) == (
        f"{path}, which holds weights of the face detector, cannot be read (no such file or directory): "
        'pip install --force-reinstall "facevae[align]".'
    )


def test_all_weights_are_read(networks: FaceNetworks) -> None:
    for network in networks[:3]:
        assert not network.training
        for name, weight in network.named_parameters():
            assert not weight.requires_grad
            assert weight.is_contiguous(), name
            assert torch.isfinite(weight).all()
            assert weight.abs().max() > 0
    # What two outputs of a softmax share does not count, so the trained biases are each other's opposites.
    for network in networks[:3]:
        assert network.face.bias is not None
        assert network.face.bias.sum().abs() < 1e-4


# ------------------------------------------------------------------------------------------ faces


def miss(face: Detection, eyes: NDArray[np.float64]) -> float:
    """By how much the eyes miss, in parts of their distance."""
    return float(np.linalg.norm(face.landmarks[:2] - eyes, axis=1).max() / np.linalg.norm(eyes[1] - eyes[0]))


def test_the_eyes_of_a_photograph_are_found(networks: FaceNetworks, hopper: NDArray[np.uint8]) -> None:
    (face,) = locate_faces(networks, hopper)
    assert face.score > 0.95
    assert miss(face, HOPPER_EYES) < 0.04
    left, top, right, bottom = face.box
    assert left < 219 < 310 < right
    assert top < 188 < 280 < bottom
    aligned = align_face(hopper, face)
    assert aligned.shape == (FRAME_HEIGHT, FRAME_WIDTH, 3)
    assert_allclose(face.to_frame(HOPPER_EYES), FRAME_EYES, atol=0.06 * 39)
    assert is_celeba_frame(networks, aligned)


@pytest.mark.parametrize(("degrees", "scale"), [(30, 1.0), (-30, 1.0), (10, 0.25), (0, 3.0)])
def test_a_turned_and_scaled_photograph_has_its_eyes_turned_and_scaled(
    networks: FaceNetworks, hopper: NDArray[np.uint8], degrees: float, scale: float
) -> None:
    middle = Similarity(shift_x=-256, shift_y=-300)
    moved = middle.then(Similarity.of(scale=scale, degrees=degrees, shift=(300 * scale, 330 * scale)))
    picture = warped(hopper, moved, round(660 * scale), round(600 * scale))
    (face,) = locate_faces(networks, picture)
    assert miss(face, moved(HOPPER_EYES)) < 0.06


@pytest.mark.parametrize("degrees", [90, 180, -60])
def test_a_photograph_that_lies_on_its_side_is_turned(
    networks: FaceNetworks, hopper: NDArray[np.uint8], degrees: float
) -> None:
    middle = Similarity(shift_x=-256, shift_y=-300)
    moved = middle.then(Similarity.of(degrees=degrees, shift=(400, 380)))
    (face,) = locate_faces(networks, warped(hopper, moved, 760, 800))
    assert miss(face, moved(HOPPER_EYES)) < 0.06
    assert face.to_frame.degrees == pytest.approx(2 - degrees if degrees < 180 else -178, abs=4)
    eyes, (left, top, right, bottom) = moved(HOPPER_EYES), face.box
    assert (eyes > [left, top]).all()
    assert (eyes < [right, bottom]).all()


def test_faces_come_with_the_largest_first(networks: FaceNetworks, hopper: NDArray[np.uint8]) -> None:
    half = np.asarray(Image.fromarray(hopper).reduce(2))
    picture = np.full((600, 800, 3), 120, dtype=np.uint8)
    picture[100:400, 10:266] = half
    picture[:, 288:] = hopper
    large, small = locate_faces(networks, picture)
    assert miss(large, np.add(HOPPER_EYES, [288, 0])) < 0.06
    assert miss(small, np.add(HOPPER_EYES / 2, [10, 100])) < 0.06
    assert large.size > 1.5 * small.size


def test_there_is_no_face_where_there_is_none(networks: FaceNetworks) -> None:
    random = np.random.default_rng(0)
    for picture in (
        np.zeros((200, 200, 3), dtype=np.uint8),
        np.full((1, 1, 3), 255, dtype=np.uint8),
        random.integers(0, 256, (300, 400, 3), dtype=np.uint8),
    ):
        assert locate_faces(networks, picture) == []


def test_most_drawn_faces_are_found_in_their_place(networks: FaceNetworks) -> None:
    """The demo's faces are drawn in CelebA's frame."""
    found = 0
    for number in range(1, 11):
        picture = np.array(draw_face(drawn_traits(0, number)).convert("RGB"))
        found += any(face_finder._eyes_miss(face.to_frame) < 0.2 for face in locate_faces(networks, picture))
    assert found >= 7


def seen_when_turned(monkeypatch: pytest.MonkeyPatch, scores: dict[int, float]) -> list[float]:
    """Let one and the same place be taken for a face, with a score for each turn; return the turns that were looked at."""
    looked: list[float] = []

    def detect_at(degrees: float) -> list[Detection]:
        looked.append(degrees)
        return (
            [Detection((10.0, 10.0, 60.0, 60.0), scores[int(degrees)], np.zeros((5, 2)))] if degrees in scores else []
        )

    monkeypatch.setattr(face_finder, "detect", lambda networks, image: detect_at(0))
    monkeypatch.setattr(face_finder, "detect_turned", lambda networks, image, degrees: detect_at(degrees))
    monkeypatch.setattr(
        face_finder, "look_closely", lambda network, image, one: Face(one.box, one.score, one.landmarks, Similarity())
    )
    return looked


@pytest.mark.parametrize(
    ("scores", "looked", "best"),
    [
        ({0: 0.95, 90: 0.99}, [0], 0.95),
        ({0: 0.82, -45: 0.99, 180: 0.999}, [0, 45, -45], 0.99),  # a beard, upside down
        ({0: 0.6, 90: 0.7}, [0, 45, -45, 90, -90, 180], 0.7),
        ({0: 0.45}, [0, 45, -45, 90, -90, 180], None),
        ({}, [0, 45, -45, 90, -90, 180], None),
    ],
)
def test_the_picture_is_turned_until_a_face_is_certain(
    monkeypatch: pytest.MonkeyPatch, scores: dict[int, float], looked: list[float], best: float | None
) -> None:
    turns = seen_when_turned(monkeypatch, scores)
    faces = locate_faces(untrained(), np.zeros((100, 100, 3), dtype=np.uint8))
    assert turns == looked
    assert [face.score for face in faces] == ([best] if best is not None else [])


# ------------------------------------------------------------------------------------------ frames as they are


class NoNetworks:
    """Fails if it is used."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(name)


@pytest.mark.parametrize(
    ("width", "height", "frame"),
    [
        *((178, 218, True), (89, 109, True), (45, 55, True), (32, 32, True), (64, 64, True), (16, 16, True)),
        *((218, 178, False), (4000, 3000, False), (180, 218, False), (1, 1, False), (15, 15, False), (9, 11, False)),
    ],
)
def test_some_sizes_tell_without_a_look(width: int, height: int, frame: bool) -> None:
    networks: FaceNetworks = NoNetworks()  # type: ignore[assignment]
    assert is_celeba_frame(networks, np.zeros((height, width, 3), dtype=np.uint8)) is frame


@pytest.mark.parametrize(("width", "height"), [(356, 436), (128, 128), (512, 512)])
def test_other_sizes_are_told_by_the_face(
    networks: FaceNetworks, hopper: NDArray[np.uint8], width: int, height: int
) -> None:
    (face,) = locate_faces(networks, hopper)
    frame = Image.fromarray(align_face(hopper, face)).resize((width, height), Image.Resampling.BICUBIC)
    assert is_celeba_frame(networks, np.array(frame))
    aside = face.to_frame.then(Similarity(shift_x=14))
    moved = Image.fromarray(warped(hopper, aside, FRAME_HEIGHT, FRAME_WIDTH)).resize((width, height))
    assert not is_celeba_frame(networks, np.array(moved))


def test_a_square_photograph_with_its_eyes_in_the_same_place_is_no_frame(
    networks: FaceNetworks, hopper: NDArray[np.uint8]
) -> None:
    (face,) = locate_faces(networks, hopper)
    # Not squashed, but cropped so that the eyes lie at the same parts of the width and of the height.
    eyes_up = face.to_frame.then(Similarity(shift_y=111.5 * (FRAME_WIDTH / FRAME_HEIGHT - 1)))
    assert not is_celeba_frame(networks, warped(hopper, eyes_up, FRAME_WIDTH, FRAME_WIDTH))


def test_an_empty_picture_of_the_frame_s_proportions_is_no_frame(networks: FaceNetworks) -> None:
    assert not is_celeba_frame(networks, np.zeros((436, 356, 3), dtype=np.uint8))
