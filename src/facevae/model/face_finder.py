"""Faces of a picture, each with the similarity that brings it to CelebA's frame; and whether a picture is such a frame already.

The detector sees a face as it lies in the picture. A closer look sees it turned upright and in CelebA's frame, through several
windows and in the mirror, and takes the mean of the landmarks: their errors fall by a quarter, and no longer depend on how the
face was turned. The frame network, see `frame_network`, brings it nearer still to where CelebA would have it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facevae.model.alignment import (
    FRAME_EYES,
    FRAME_HEIGHT,
    FRAME_WIDTH,
    Similarity,
    distance_from_frame,
    to_frame,
)
from facevae.model.detector import Detection, detect, look, on_windows, surest
from facevae.model.frame_network import FrameNetwork, refined
from facevae.model.mtcnn import FaceNetworks, WindowNetwork
from facevae.model.warping import as_tensor, resized_picture, warped

_MIRRORED = (1, 0, 2, 4, 3)
"""Which landmark each of the five is in a mirror."""
_CENTRE = (89, 117)
_SIDES = (96, 112, 128)
_OFFSETS = ((-5, -5), (5, -5), (0, 7))
"""The windows of the closer look: where in the frame the face lies, and around it."""
_SCORE = 0.5
"""What the closer look must give to a face, on average over the windows: what is none got at most 0.47, 99 faces in 100 get
above 0.9."""
_SURE = 0.9
_OVERLAP = 0.4
"""Of two faces that share more of the smaller one's box only the surer one is a face: the other is hair, or a part of it."""
_TURNS = (0, 45, -45, 90, -90, 180)
_MOST_TURNED = 2_000_000
"""Pixels of the turned picture: it is reduced to these."""
_LOOKS = 3
_STAYS = 0.05
"""By so much, in parts of the eyes' distance, a closer look may move the eyes and be the last one."""
_LEAST_FRAME = 16
_SURELY_SQUASHED = 64
_PROPORTION = 0.01
_MISS = 0.2
"""Of CelebA's frames 99 in 100 have their eyes nearer to their places than this, in parts of the eyes' distance."""
_LESS_LIKELY = 30.0
"""By how much more, in twice the logarithm, the landmarks may speak for a photograph than for a squashed frame: a frame says
beforehand where the face lies, and a photograph would have to have it there by chance."""


@dataclass(frozen=True, eq=False)
class Face(Detection):
    """A face that was looked at closely, and how it is brought to CelebA's frame.

    Attributes:
        to_frame: takes the picture's coordinates to those of the frame of 178 x 218 pixels.
    """

    to_frame: Similarity


def locate_faces(networks: FaceNetworks, image: NDArray[np.uint8]) -> list[Face]:
    """Return the faces of a picture, uint8 (H, W, 3), the largest first. `detector.smallest_face` says how small they may be.

    The detector sees faces that lie up to some 35 degrees to the side. Where it sees none for certain, it is shown the picture
    turned: a beard upside down has been taken for a face, but the face itself is surer.
    """
    faces: list[Face] = []
    for degrees in _TURNS:
        found = detect_turned(networks, image, degrees) if degrees else detect(networks, image)
        faces += [look_closely(networks.output, image, one) for one in found]
        if any(face.score > _SURE for face in faces):
            break
    faces = _without_overlaps([face for face in faces if face.score > _SCORE])
    return [_refined(networks.frame, image, face) for face in sorted(faces, key=lambda face: -face.size)]


def _refined(network: FrameNetwork | None, image: NDArray[np.uint8], face: Face) -> Face:
    return face if network is None else replace(face, to_frame=refined(network, image, face.to_frame))


def _without_overlaps(faces: Sequence[Face]) -> list[Face]:
    boxes = torch.tensor([face.box for face in faces]).reshape(-1, 4)
    scores = torch.tensor([face.score for face in faces])
    return [faces[index] for index in surest(boxes, scores, _OVERLAP, nested=True)]


def detect_turned(networks: FaceNetworks, image: NDArray[np.uint8], degrees: float) -> list[Detection]:
    """Return what `detect` finds in a picture that is turned clockwise by so many degrees, as it lies in the picture unturned."""
    height, width = image.shape[:2]
    corners = Similarity.of(degrees=degrees)([(0, 0), (width, 0), (0, height), (width, height)])
    first, extent = corners.min(axis=0), np.ptp(corners, axis=0)
    scale = min(1.0, math.sqrt(_MOST_TURNED / float(extent.prod())))
    turn = Similarity.of(scale=scale, degrees=degrees, shift=(-scale * float(first[0]), -scale * float(first[1])))
    columns, rows = (max(round(scale * float(side)), 1) for side in extent)
    back = turn.inverse()
    return [_moved(found, back) for found in detect(networks, warped(image, turn, rows, columns, order=1))]


def _moved(found: Detection, by: Similarity) -> Detection:
    """Return a detection moved: its box becomes a square, so that it stays upright."""
    left, top, right, bottom = found.box
    x, y = by([(left + right) / 2, (top + bottom) / 2]).tolist()
    half = by.scale * found.size / 2
    return Detection((x - half, y - half, x + half, y + half), found.score, by(found.landmarks))


def align_face(image: NDArray[np.uint8], face: Face, scale: float = 1.0) -> NDArray[np.uint8]:
    """Return a face of a picture in CelebA's frame, uint8 (218, 178, 3), or in one `scale` times as large."""
    larger = face.to_frame.then(Similarity.of(scale=scale))
    return warped(image, larger, round(FRAME_HEIGHT * scale), round(FRAME_WIDTH * scale))


def is_frame_by_size(height: int, width: int) -> bool | None:
    """Return whether a picture of this size is CelebA's frame already, or None where only its face can tell.

    - One of exactly 178 x 218 pixels is: what CelebA and `align_face` make. A face need not be found in it: a few of CelebA's
      look away, or hide behind hair. So is a smaller one of these proportions, such as 89 x 109.
    - A square of at most 64 pixels is, too: a frame as `prepare` squashes it. There is hardly anything to find in it.
    - Any other square, and a larger picture of the proportions 178 to 218 within a hundredth, may be one.
    - None has a side of less than 16 pixels.
    """
    if min(height, width) < _LEAST_FRAME:
        return False
    if height == width:
        return True if width <= _SURELY_SQUASHED else None
    if width <= FRAME_WIDTH and abs(width * FRAME_HEIGHT / FRAME_WIDTH - height) <= 1 / 2:
        return True
    return None if abs(width * FRAME_HEIGHT / (height * FRAME_WIDTH) - 1) <= _PROPORTION else False


def is_celeba_frame(networks: FaceNetworks, image: NDArray[np.uint8]) -> bool:
    """Return whether a picture, uint8 (H, W, 3), is CelebA's frame already, so that there is nothing to align.

    Where its size leaves that open, see `is_frame_by_size`, it is one if a face lies where it belongs. In a square it must have
    the shape of a squashed face, too, to tell it from a photograph that was cropped to the same place.
    """
    height, width = image.shape[:2]
    by_size = is_frame_by_size(height, width)
    if by_size is not None:
        return by_size
    faces = locate_faces(networks, resized_picture(image, FRAME_HEIGHT, FRAME_WIDTH))
    if height == width:
        return any(_is_squashed(face) for face in faces)
    return any(_eyes_miss(face.to_frame) < _MISS for face in faces)


def _eyes_miss(fitted: Similarity) -> float:
    """Return by how much `fitted` moves the frame's eyes, at the most, in parts of their distance."""
    moved = np.linalg.norm(fitted(FRAME_EYES) - FRAME_EYES, axis=1)
    return float(moved.max() / np.linalg.norm(FRAME_EYES[1] - FRAME_EYES[0]))


def _is_squashed(face: Face) -> bool:
    """Whether a face of a square that was stretched to the frame belongs to a frame, rather than to a square photograph."""
    of_photograph = face.landmarks * (1.0, FRAME_WIDTH / FRAME_HEIGHT)
    as_photograph = distance_from_frame(to_frame(of_photograph)(of_photograph))
    return distance_from_frame(face.landmarks) - as_photograph < _LESS_LIKELY


def look_closely(network: WindowNetwork, image: NDArray[np.uint8], found: Detection) -> Face:
    """Look at a face again, upright and in CelebA's frame, for better landmarks: until they stay, or three times."""
    landmarks = found.landmarks
    for _ in range(_LOOKS):
        before = to_frame(landmarks)
        score, in_frame = _seen_in_frame(network, warped(image, before, FRAME_HEIGHT, FRAME_WIDTH))
        landmarks = before.inverse()(in_frame)
        after = to_frame(landmarks)
        if _eyes_miss(before.inverse().then(after)) < _STAYS:
            break
    return Face(found.box, score, landmarks, after)


@torch.inference_mode()
def _seen_in_frame(network: WindowNetwork, frame: NDArray[np.uint8]) -> tuple[float, NDArray[np.float64]]:
    """Return the score and the landmarks (5, 2) of a face in its frame: the means over the windows and their mirror images."""
    picture = as_tensor(frame).float()
    windows = _windows()
    plain, mirrored = (look(network, turned, windows) for turned in (picture, picture.flip(3)))
    back = on_windows(mirrored.landmarks, windows)[:, _MIRRORED, :]
    back[..., 0] = FRAME_WIDTH - back[..., 0]
    landmarks = torch.cat([on_windows(plain.landmarks, windows), back]).double().mean(dim=0)
    return float(torch.cat([plain.score, mirrored.score]).mean()), landmarks.numpy()


def _windows() -> Tensor:
    places = [(_CENTRE[0] + x, _CENTRE[1] + y, side // 2) for side in _SIDES for x, y in _OFFSETS]
    return torch.tensor([(x - half, y - half, x + half, y + half) for x, y, half in places], dtype=torch.float32)
