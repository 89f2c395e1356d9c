"""The frame network: its geometry with networks that are no networks, its file, and the shipped one on drawn faces."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from facevae.drawing import draw_face
from facevae.drawing.dataset import drawn_traits
from facevae.errors import DataError, UsageError
from facevae.model.alignment import FRAME_EYES, FRAME_HEIGHT, FRAME_WIDTH, Similarity
from facevae.model.frame_network import (
    WINDOW_SIDE,
    FrameNetwork,
    correction,
    eye_shifts,
    refined,
    to_window,
)
from facevae.model.warping import warped
from facevae.storage import shipped
from facevae.storage.frame_weights import FORMAT, REMEDY, load_frame_network, save_frame_network
from facevae.storage.safetensors_file import write_tensors

WIDTHS = (2, 4, 6)
ABOUT_EYES = Similarity(shift_x=-89.0, shift_y=-111.5)

residuals = st.builds(
    lambda scale, degrees, x, y: ABOUT_EYES.then(
        Similarity.of(scale=scale, degrees=degrees, shift=(89 + x, 111.5 + y))
    ),
    st.floats(0.97, 1.03),
    st.floats(-3, 3),
    st.floats(-2, 2),
    st.floats(-2, 2),
)
"""What a face may still be off by, in the frame."""


def random_network(seed: int = 0) -> FrameNetwork:
    """A small one whose answers depend on what it sees."""
    torch.manual_seed(seed)
    network = FrameNetwork(WIDTHS)
    torch.nn.init.normal_(network.eyes.weight, std=0.1)
    return network.eval()


def random_windows(count: int) -> Tensor:
    return torch.rand(count, 3, WINDOW_SIDE, WINDOW_SIDE, generator=torch.Generator().manual_seed(1)) * 255


def miss(similarity: Similarity) -> float:
    """By how much it moves the frame's eyes, at the most, in parts of their distance."""
    return float(np.linalg.norm(similarity(FRAME_EYES) - FRAME_EYES, axis=1).max() / 39)


class DotFinder(FrameNetwork):
    """Finds two bright dots, one in each half of the window, where the trained one finds what belongs on the eyes."""

    def forward(self, windows: Tensor) -> Tensor:
        bright = (windows.mean(dim=1) - 60).clamp(min=0)
        places = torch.arange(WINDOW_SIDE) + 0.5
        points = []
        for half in (slice(0, WINDOW_SIDE // 2), slice(WINDOW_SIDE // 2, WINDOW_SIDE)):
            part = bright[:, :, half]
            total = part.sum(dim=(1, 2))
            x, y = (part.sum(dim=1) * places[half]).sum(1) / total, (part.sum(dim=2) * places).sum(1) / total
            points.append(torch.stack([x, y], dim=1))
        in_frame = to_window().inverse()(torch.stack(points, dim=1).double().numpy())
        return torch.from_numpy(in_frame - FRAME_EYES)


def dots(width: int, height: int, places: NDArray[np.float64], size: float) -> NDArray[np.uint8]:
    """A dark picture with a soft bright dot at each place."""
    y, x = np.mgrid[:height, :width] + 0.5
    light = sum(np.exp(-((x - one[0]) ** 2 + (y - one[1]) ** 2) / (2 * size**2)) for one in places)
    return np.repeat((20 + 220 * np.asarray(light)).round().astype(np.uint8)[..., None], 3, axis=2)


# ------------------------------------------------------------------------------------------ geometry


def test_an_untrained_network_leaves_a_face_where_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 260, 3), dtype=np.uint8)
    before = Similarity.of(scale=0.7, degrees=20, shift=(30, -10))
    assert_allclose(refined(FrameNetwork().eval(), image, before).matrix, before.matrix, rtol=0, atol=1e-9)


@given(residuals)
def test_a_correction_brings_the_points_seen_onto_the_eyes(residual: Similarity) -> None:
    found = correction(residual(FRAME_EYES) - FRAME_EYES)
    assert_allclose(residual.then(found).matrix, Similarity().matrix, atol=1e-9)


@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 0.0), (3.0, 25.0), (0.8, -160.0)])
@pytest.mark.parametrize("residual", [(1.0, 0.0, 1.5, -1.0), (1.04, 2.0, 0.0, 1.0), (0.97, -3.0, -1.0, 0.0)])
def test_what_the_network_sees_in_a_picture_comes_onto_the_eyes(
    scale: float, degrees: float, residual: tuple[float, float, float, float]
) -> None:
    """The dots lie in a picture at any scale and angle, and where they are thought to be is wrong by the residual."""
    stretch, turn, x, y = residual
    wrong = ABOUT_EYES.then(Similarity.of(scale=stretch, degrees=turn, shift=(89 + x, 111.5 + y)))
    middle = Similarity(shift_x=-89, shift_y=-109)
    placed = middle.then(Similarity.of(scale=scale, degrees=degrees, shift=(200 * scale, 210 * scale)))
    picture = dots(round(400 * scale), round(420 * scale), placed(FRAME_EYES), 3 * scale)
    thought = placed.inverse().then(wrong)
    found = refined(DotFinder(WIDTHS).eval(), picture, thought)
    assert miss(placed.then(thought)) > 0.02
    assert miss(placed.then(found)) < 0.005


def test_a_network_that_would_move_a_face_far_is_not_believed() -> None:
    picture = dots(FRAME_WIDTH, FRAME_HEIGHT, FRAME_EYES, 3)
    near, far = Similarity(shift_x=0.14 * 39), Similarity(shift_x=0.16 * 39)
    network = DotFinder(WIDTHS).eval()
    assert miss(refined(network, picture, near)) < 0.005
    assert refined(network, picture, far) is far


@pytest.mark.parametrize(("cut", "believed"), [(33 + 18, True), (33 + 25, False)])
def test_half_a_face_at_the_border_of_a_picture_stays_where_it_is(cut: int, believed: bool) -> None:
    """The window begins at 33 and is 112 wide, of which a fifth may be missing; it is thought to lie two pixels to the left."""
    picture = dots(FRAME_WIDTH, FRAME_HEIGHT, FRAME_EYES, 3)[:, cut:]
    thought = Similarity(shift_x=cut + 2.0)
    found = refined(DotFinder(WIDTHS).eval(), picture, thought)
    assert (found is not thought) is believed


def test_the_window_lies_within_the_frame_however_far_a_face_may_be_off() -> None:
    """So that the network sees no edge of a frame, neither in training nor in use."""
    corners = to_window().inverse()([(0, 0), (WINDOW_SIDE, 0), (0, WINDOW_SIDE), (WINDOW_SIDE, WINDOW_SIDE)])
    for scale in (0.87, 1.13):
        for degrees in (-10, 10):
            for x in (-5.5, 5.5):
                for y in (-5.5, 5.5):
                    moved = ABOUT_EYES.then(Similarity.of(scale=scale, degrees=degrees, shift=(89 + x, 111.5 + y)))
                    seen = moved.inverse()(corners)
                    assert (seen > 0).all()
                    assert (seen < [FRAME_WIDTH, FRAME_HEIGHT]).all()


# ------------------------------------------------------------------------------------------ the network


def test_the_answers_for_many_windows_are_those_for_each() -> None:
    network, windows = random_network(), random_windows(5)
    together = eye_shifts(network, windows)
    assert together.shape == (5, 2, 2)
    assert np.ptp(together, axis=0).max() > 1e-3  # they are not all the same
    for window, shifts in zip(windows, together, strict=True):
        assert_allclose(eye_shifts(network, window[None])[0], shifts, atol=1e-5)


def test_the_answer_for_a_mirror_image_is_the_mirror_image() -> None:
    network, windows = random_network(), random_windows(3)
    mirrored = eye_shifts(network, windows.flip(3))
    assert_allclose(mirrored, eye_shifts(network, windows)[:, ::-1] * [-1, 1], atol=1e-5)


@pytest.mark.parametrize(("contrast", "brightness"), [(0.5, 60.0), (1.3, -20.0)])
def test_brightness_and_contrast_do_not_count(contrast: float, brightness: float) -> None:
    network, windows = random_network(), random_windows(2)
    assert_allclose(
        eye_shifts(network, windows * contrast + brightness), eye_shifts(network, windows), atol=1e-3, rtol=1e-3
    )


def test_a_window_of_one_colour_is_no_trouble() -> None:
    assert np.isfinite(eye_shifts(random_network(), torch.full((1, 3, WINDOW_SIDE, WINDOW_SIDE), 7.0))).all()


# ------------------------------------------------------------------------------------------ the file


def test_a_network_comes_back_from_its_file(tmp_path: Path) -> None:
    path, network, windows = tmp_path / "frame.safetensors", random_network(), random_windows(2)
    save_frame_network(path, network, {"seed": 0})
    loaded = load_frame_network(path)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert_allclose(eye_shifts(loaded, windows), eye_shifts(network, windows), rtol=0.01, atol=0.01)
    save_frame_network(path, network, {})  # over itself


def damage_not_safetensors(path: Path) -> str:
    path.write_bytes(b"rubbish")
    return f"{path} is not a file of frame network weights (not safetensors, or damaged). {REMEDY}"


def damage_missing(path: Path) -> str:
    path.unlink()
    return f"There is no {path}. {REMEDY}"


def damage_values(path: Path) -> str:
    tensors = load_file(path)
    tensors["eyes.bias"][2] = math.nan
    write_tensors(path, FORMAT, tensors, {"network": {"widths": list(WIDTHS)}})
    return f"{path} is damaged (it holds values that are not finite). {REMEDY}"


def damage_shapes(path: Path) -> str:
    write_tensors(path, FORMAT, load_file(path), {"network": {"widths": [2, 4, 8]}})
    return f"{path} is damaged (its tensors are not those of the network it describes). {REMEDY}"


def damage_widths(path: Path) -> str:
    write_tensors(path, FORMAT, load_file(path), {"network": {"widths": [0, 4, 6]}})
    return f"{path} is damaged (it describes a network without channels). {REMEDY}"


@pytest.mark.parametrize(
    "damage", [damage_not_safetensors, damage_missing, damage_values, damage_shapes, damage_widths]
)
def test_damaged_files_are_told(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "frame.safetensors"
    save_frame_network(path, random_network(), {})
    assert callable(damage)
    message = damage(path)
    with pytest.raises(DataError) as error:
        load_frame_network(path)
    assert str(error.value) == message


def test_what_cannot_be_saved_is_told(tmp_path: Path) -> None:
    path, network = tmp_path / "frame.safetensors", random_network()
    torch.nn.init.constant_(network.eyes.bias, 1e6)
    with pytest.raises(DataError) as error:
        save_frame_network(path, network, {})
    assert str(error.value) == (
        f"{path} cannot be written: the network has weights that float16 cannot hold. Train it anew."
    )
    assert not path.exists()


def test_data_of_another_kind_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "vae.safetensors"
    write_tensors(path, "facevae weights", {"weight": torch.zeros(2)}, {})
    with pytest.raises(UsageError):
        save_frame_network(path, random_network(), {})


# ------------------------------------------------------------------------------------------ the shipped one


@pytest.fixture(scope="module")
def trained() -> FrameNetwork:
    return load_frame_network(shipped.shipped_frame_network())


def test_the_package_holds_a_small_file() -> None:
    assert shipped.shipped_frame_network().stat().st_size <= 3_000_000


def test_a_damaged_shipped_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    path = tmp_path / "frame.safetensors"
    save_frame_network(path, random_network(), {})
    with pytest.raises(DataError) as error:
        shipped.shipped_frame_network()
    assert str(error.value) == (
        f"{path}, which comes with facevae, is damaged (its SHA-256 is not that of this version): reinstall facevae."
    )


def test_drawn_faces_that_were_moved_move_back(trained: FrameNetwork) -> None:
    """The demo's faces are drawn in CelebA's frame. The network never saw one, and still follows how each was moved."""
    random, kept = np.random.default_rng(0), []
    for number in range(1, 13):
        picture = np.array(draw_face(drawn_traits(0, number)).convert("RGB"))
        scale, degrees, x, y = random.normal([1, 0, 0, 0], [0.03, 2.5, 1.2, 1.2])
        wrong = ABOUT_EYES.then(Similarity.of(scale=scale, degrees=degrees, shift=(89 + x, 111.5 + y)))
        still = refined(trained, picture, Similarity())
        moved = wrong.then(refined(trained, warped(picture, wrong, FRAME_HEIGHT, FRAME_WIDTH), Similarity()))
        kept.append(miss(still.inverse().then(moved)) / miss(wrong))
    assert np.median(kept) < 0.5
