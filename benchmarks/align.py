"""How near faces come to CelebA's frame:  python benchmarks/align.py CELEBA_DIR

Frames of CelebA are turned, scaled and laid into larger pictures, which are never written, so that it is known where the frame
is. Measured are the faces found, and by how much the eyes of the frame, (69, 111) and (108, 111), miss their places after
alignment, in percent of the distance of the eyes: for the first and the closer look and three ways to fit, with the frame network
after them, by the scale of the frame too, and for OpenCV's cascades where `cv2` (4.x) can be imported. Backgrounds are noise,
gradients, and the photographs of scikit-learn and, where it is installed, scikit-image. Every second frame is used, from the
second on; from the others are the constants of `model/alignment.py`, which --measure prints, and the frame network.
"""

from __future__ import annotations

import argparse
import importlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sklearn
from numpy.typing import NDArray
from PIL import Image

from facevae.model.alignment import (
    FRAME_EYES,
    FRAME_HEIGHT,
    FRAME_LANDMARKS,
    FRAME_WIDTH,
    Similarity,
    fit_similarity,
    to_frame,
)
from facevae.model.detector import detect, smallest_face
from facevae.model.face_finder import locate_faces
from facevae.model.mtcnn import FaceNetworks
from facevae.storage.celeba import find_faces
from facevae.storage.detector_weights import load_face_networks
from facevae.storage.images import open_image, smaller_side

Picture = NDArray[np.uint8]
Points = NDArray[np.float64]

EYE_DISTANCE = float(np.linalg.norm(FRAME_EYES[1] - FRAME_EYES[0]))
GOAL = 4.0
SCALES = (0.75, 1.0, 2.0, 4.0)
KEPT = 0.97
"""Part of the faces that the constants are computed from: the others are those that were not found where they are."""
MIRRORED = [1, 0, 2, 4, 3]

FITS: dict[str, Callable[[Points], Similarity]] = {
    "two eyes": lambda points: fit_similarity(points[:2], FRAME_LANDMARKS[:2]),
    "five points": lambda points: fit_similarity(points, FRAME_LANDMARKS),
    "the likeliest": to_frame,
}


class Composite(NamedTuple):
    """A picture with a face, and where the frame of 178 x 218 pixels went."""

    picture: Picture
    placed: Similarity


def frames(options: argparse.Namespace, first: int) -> Iterator[Image.Image]:
    """Yield `--count` of every second image that is large enough, drawn at random, as frames of 178 x 218 pixels."""
    source = find_faces(options.faces, with_attributes=False)
    names = source.names[first::2]
    left = options.count
    with source.open() as reader:
        for index in np.random.default_rng(options.seed).permutation(len(names)).tolist():
            data = reader.read(names[index])
            if smaller_side(data, names[index]) < options.least_side:
                continue
            yield open_image(data, names[index]).resize((FRAME_WIDTH, FRAME_HEIGHT), Image.Resampling.BICUBIC)
            left -= 1
            if not left:
                return


def photographs() -> list[Image.Image]:
    """Return photographs without faces: scikit-learn's, and scikit-image's where it is installed."""
    paths = [Path(sklearn.__file__).parent / "datasets" / "images" / name for name in ("china.jpg", "flower.jpg")]
    try:
        folder = Path(importlib.import_module("skimage").__file__ or "").parent / "data"
    except ImportError:
        folder = Path()
    paths += [folder / name for name in ("coffee.png", "chelsea.png", "brick.png", "motorcycle_left.png", "rocket.jpg")]
    return [Image.open(path).convert("RGB") for path in paths if path.is_file()]


def background(random: np.random.Generator, width: int, height: int, photos: list[Image.Image]) -> Image.Image:
    """Draw a background: a photograph, blurred noise, or a gradient."""
    kind = int(random.integers(len(photos) + 2))
    if kind < len(photos):
        return photos[kind].resize((width, height), Image.Resampling.BICUBIC)
    if kind == len(photos):
        noise = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    across = np.linspace(0, 0.5, width)[None, :, None] * random.uniform(0, 255, 3)
    down = np.linspace(0, 0.5, height)[:, None, None] * random.uniform(0, 255, 3)
    return Image.fromarray((across + down).astype(np.uint8))


def composite(
    frame: Image.Image, random: np.random.Generator, options: argparse.Namespace, photos: list[Image.Image]
) -> Composite:
    """Lay a frame, turned and scaled at random, into a larger picture."""
    scale = float(np.exp(random.uniform(*np.log(options.scales))))
    turn = Similarity.of(scale=scale, degrees=float(random.uniform(-options.degrees, options.degrees)))
    corners = turn([(0, 0), (FRAME_WIDTH, 0), (0, FRAME_HEIGHT), (FRAME_WIDTH, FRAME_HEIGHT)])
    extent = np.ceil(corners.max(axis=0) - corners.min(axis=0)).astype(int)
    width, height = (extent + random.integers(0, 600, 2)).tolist()
    shift = random.uniform(0, np.array([width, height]) - extent) - corners.min(axis=0)
    placed = turn.then(Similarity(shift_x=float(shift[0]), shift_y=float(shift[1])))
    if scale < 1:  # antialiased, which transform is not
        frame = frame.resize((round(FRAME_WIDTH * scale), round(FRAME_HEIGHT * scale)), Image.Resampling.BICUBIC)
    sides = np.array([[frame.width / FRAME_WIDTH], [frame.height / FRAME_HEIGHT]])
    back = tuple((placed.inverse().matrix * sides).reshape(-1).tolist())
    picture = background(random, width, height, photos)
    mask = Image.new("L", frame.size, 255)
    turned, inside = (
        layer.transform((width, height), Image.Transform.AFFINE, back, Image.Resampling.BICUBIC)
        for layer in (frame, mask)
    )
    picture.paste(turned, (0, 0), inside)
    return Composite(np.asarray(picture), placed)


def haar_eyes(cv2: Any, picture: Picture) -> list[Points]:
    """Return the eyes (2, 2), left and right, of the faces that OpenCV's cascades find with both."""
    folder = Path(cv2.data.haarcascades)
    face_finder = cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_alt2.xml"))
    eye_finder = cv2.CascadeClassifier(str(folder / "haarcascade_eye.xml"))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    least = int(smallest_face(*grey.shape))
    found = []
    for left, top, width, height in face_finder.detectMultiScale(grey, 1.1, 4, minSize=(least, least)):
        upper = grey[top : top + height * 6 // 10, left : left + width]
        halves: dict[bool, tuple[float, Points]] = {}
        for x, y, w, h in eye_finder.detectMultiScale(upper, 1.05, 4, minSize=(width // 8, width // 8)):
            centre = np.array([left + x + w / 2, top + y + h / 2])
            on_right = bool(x + w / 2 > width / 2)
            halves[on_right] = max(halves.get(on_right, (0.0, centre)), (float(w), centre), key=lambda eye: eye[0])
        if len(halves) == 2:
            found.append(np.stack([halves[False][1], halves[True][1]]))
    return found


def near(eyes: Points, placed: Similarity) -> bool:
    """Whether found eyes are those of the face that was placed, rather than of another."""
    return bool(np.linalg.norm(eyes.mean(0) - placed(FRAME_EYES).mean(0)) < EYE_DISTANCE * placed.scale / 2)


def errors(fitted: Similarity, placed: Similarity) -> list[float]:
    """Return by how much each eye of the frame misses its place, in percent of the eyes' distance."""
    missed = fitted(placed(FRAME_EYES)) - FRAME_EYES
    return [float(miss) * 100 / EYE_DISTANCE for miss in np.linalg.norm(missed, axis=1)]


def scale_of(placed: Similarity) -> str:
    """Return the range of scales that a frame's is in, as a row of the table."""
    limit = next((limit for limit in SCALES if placed.scale < limit), math.inf)
    return f"scale below {limit:g}"


def measure_composites(networks: FaceNetworks, options: argparse.Namespace) -> None:
    """Print the table."""
    random, photos = np.random.default_rng(options.seed), photographs()
    try:
        cv2: Any = importlib.import_module("cv2")
    except ImportError:
        cv2 = None
    missed: defaultdict[str, list[float]] = defaultdict(list)
    haar: list[tuple[Points, Similarity]] = []
    count = found = others = 0
    seconds = 0.0
    for frame in frames(options, 1):
        picture, placed = composite(frame, random, options, photos)
        count += 1
        start = time.process_time()
        faces = locate_faces(networks, picture)
        seconds += time.process_time() - start
        here = [face for face in faces if near(face.landmarks[:2], placed)]
        found, others = found + bool(here), others + len(faces) - len(here)
        first = [one for one in detect(networks, picture) if near(one.landmarks[:2], placed)]
        for name, fit in FITS.items() if here and first else ():
            missed[f"first look, {name}"] += errors(fit(first[0].landmarks), placed)
            missed[f"closer look, {name}"] += errors(fit(here[0].landmarks), placed)
        if here and first:
            missed["frame network"] += errors(here[0].to_frame, placed)
            missed[f"frame network, {scale_of(placed)}"] += errors(here[0].to_frame, placed)
        if cv2 is not None:
            haar += [(eyes, placed) for eyes in haar_eyes(cv2, picture) if near(eyes, placed)][:1]
    print(f"{found} of {count} faces found, {others} others; {seconds / count:.2f} s of processor time a picture")
    if haar:  # where its eyes lie on average is measured on the same pictures, in its favour
        places = np.median([placed.inverse()(eyes) for eyes, placed in haar], axis=0)
        missed["Haar cascades"] = [
            miss for eyes, placed in haar for miss in errors(fit_similarity(eyes, places), placed)
        ]
        print(f"{len(haar)} of {count} found by the Haar cascades, with both eyes")
    print_table(missed)


def print_table(missed: dict[str, list[float]]) -> None:
    """Print the median, the 95th percentile, and the share within the goal."""
    print(f"\n| eyes from | median | 95 % within | share within {GOAL:.0f} % |\n|---|---|---|---|")
    for name, values in sorted(missed.items()):
        within = float(np.mean(np.array(values) < GOAL))
        print(f"| {name} | {np.median(values):.1f} % | {np.percentile(values, 95):.1f} % | {within:.1%} |")


def measure_constants(networks: FaceNetworks, options: argparse.Namespace) -> None:
    """Print the mean and the covariance of the landmarks in the frame, of faces and their mirror images."""
    scores, shifts, points = [], [], []
    count = 0
    for frame in frames(options, 0):
        count += 1
        for face in locate_faces(networks, np.asarray(frame))[:1]:
            points.append(face.landmarks)
            scores.append(face.score)
            shifts.append(max(errors(face.to_frame, Similarity())))
    print(f"{len(points)} of {count} found; scores {np.quantile(scores, [0, 0.01, 0.05]).round(3)}")
    print(f"larger miss of the two eyes: 50, 95, 99 % within {np.percentile(shifts, [50, 95, 99]).round(1)} %")
    mirrored = (np.array(points) * [-1, 1] + [FRAME_WIDTH, 0])[:, MIRRORED]
    both = np.concatenate([points, mirrored]).reshape(-1, 10)
    for _ in range(3):
        difference = both - both.mean(axis=0)
        far = np.einsum("ni,ij,nj->n", difference, np.linalg.inv(difference.T @ difference / len(both)), difference)
        if len(both) > 2 * len(points) * KEPT:
            both = both[np.argsort(far, kind="stable")[: int(2 * len(points) * KEPT)]]
    difference = both - both.mean(axis=0)
    print(np.array2string(both.mean(axis=0).reshape(5, 2), precision=2, separator=", "))
    print(np.array2string(difference.T @ difference / len(both), precision=2, separator=", ", max_line_width=120))


def main() -> None:
    """Parse the options and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("faces", type=Path, help="CelebA in any layout that facevae prepare takes")
    parser.add_argument("--count", type=int, default=300, help="how many faces")
    parser.add_argument("--least-side", type=int, default=FRAME_WIDTH, help="only images with so many pixels a side")
    parser.add_argument("--degrees", type=float, default=35.0, help="turned by up to so many degrees to either side")
    parser.add_argument("--scales", type=float, nargs=2, default=(0.5, 4.0), help="scaled by factors between these")
    parser.add_argument("--measure", action="store_true", help="measure the constants of model/alignment.py")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    (measure_constants if options.measure else measure_composites)(load_face_networks(), options)


if __name__ == "__main__":
    main()
