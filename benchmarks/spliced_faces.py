"""A CelebA of any size in its own layout, in a minute or two: a zip of native-size JPEGs that all differ, and the two tables.

A few hundred faces are drawn and encoded once, with a restart marker at the end of each row of blocks. The data between two
markers stand for themselves, so a new face is made of the upper part of one, the middle of a second and the lower part
of a third, and its tint by other steps of the quantisation table: bytes are put together, and nothing is encoded again.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from facevae.drawing import ATTRIBUTE_NAMES, attributes_of, draw_face
from facevae.drawing.dataset import drawn_traits

SIZE = 178, 218
"""Of CelebA's aligned images, (width, height)."""
BYTES_A_FILE = 7_000
"""What a native JPEG of CelebA has on average; the drawn ones get as much grain as it takes to have as many."""
ARCHIVE = "img_align_celeba.zip"
_GRAIN = 4.0
_QUALITY = 75
_VALID_FROM, _TEST_FROM = 162_770 / 202_599, 182_637 / 202_599


class Parts(NamedTuple):
    """A JPEG taken apart: all that stands before the data, the data between the markers, and the face's attributes."""

    head: bytes
    rows: list[bytes]
    attributes: list[bool]


def drawn_parts(count: int) -> list[Parts]:
    """Return `count` drawn faces of CelebA's size, as JPEGs taken apart."""
    random = np.random.default_rng(0)
    parts = []
    for number in range(1, count + 1):
        traits = drawn_traits(0, number)
        face = np.asarray(draw_face(traits).convert("RGB").resize(SIZE), dtype=np.float32)
        grain = random.normal(scale=_GRAIN, size=(*face.shape[:2], 1))
        image = Image.fromarray(np.clip(face + grain, 0, 255).astype(np.uint8))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=_QUALITY, restart_marker_rows=1)
        parts.append(_taken_apart(buffer.getvalue(), list(attributes_of(traits).values())))
    return parts


def _taken_apart(jpeg: bytes, attributes: list[bool]) -> Parts:
    scan = jpeg.index(b"\xff\xda")
    begin = scan + 2 + int.from_bytes(jpeg[scan + 2 : scan + 4], "big")
    # In the data 0xFF is always followed by 0x00, except in these markers.
    rows = re.split(rb"\xff[\xd0-\xd7]", jpeg[begin : jpeg.rindex(b"\xff\xd9")])
    return Parts(jpeg[:begin], rows, attributes)


def spliced(parts: list[Parts], number: int) -> tuple[bytes, list[bool]]:
    """Return face `number` as JPEG bytes, and its attributes, which are those of the face that its middle is of."""
    random = np.random.default_rng([1, number])
    upper, middle, lower = (parts[index] for index in random.integers(len(parts), size=3))
    count = len(upper.rows)
    first, second = count * 2 // 5, count * 2 // 3
    rows = upper.rows[:first] + middle.rows[first:second] + lower.rows[second:]
    data = b"".join(row + bytes((0xFF, 0xD0 + index % 8)) for index, row in enumerate(rows[:-1]))
    return retinted(upper.head, random) + data + rows[-1] + b"\xff\xd9", middle.attributes


def retinted(jpeg: bytes, random: np.random.Generator) -> bytes:
    """Return a JPEG with other steps for the mean brightness and colour of its blocks, and for their first waves.

    A JPEG whose tables are not where they are expected comes back as it is.
    """
    changed = bytearray(jpeg)
    at = 2
    while 0 < at < len(changed) - 4 and changed[at] == 0xFF and changed[at + 1] != 0xDA:
        length = int.from_bytes(changed[at + 2 : at + 4], "big")
        if changed[at + 1] == 0xDB:
            for table in range(at + 4, at + 2 + length - 64, 65):
                if changed[table] >> 4 == 0:  # steps of a byte each, in zigzag order
                    steps = np.frombuffer(changed, dtype=np.uint8, count=6, offset=table + 1).astype(np.float64)
                    steps *= random.uniform(0.7, 1.2, 6)
                    changed[table + 1 : table + 7] = np.clip(np.rint(steps), 1, 255).astype(np.uint8).tobytes()
        at += 2 + length
    return bytes(changed)


def repeated_faces(folder: Path) -> Callable[[int], tuple[bytes, list[bool]]]:
    """Return what gives face `number` from the user's own JPEGs in a folder or zip: after the last, the first, tinted anew."""
    read, names = _opened(folder)
    drawn = [list(attributes_of(drawn_traits(0, number)).values()) for number in range(1, 401)]

    def face(number: int) -> tuple[bytes, list[bool]]:
        random = np.random.default_rng([2, number])
        jpeg = read(names[number % len(names)])
        return (jpeg if number < len(names) else retinted(jpeg, random)), drawn[number % len(drawn)]

    return face


def _opened(folder: Path) -> tuple[Callable[[str], bytes], list[str]]:
    archive = folder if folder.suffix == ".zip" else next(iter(sorted(folder.rglob(ARCHIVE))), None)
    if archive is not None:
        opened = zipfile.ZipFile(archive)
        names = sorted(name for name in opened.namelist() if name.lower().endswith((".jpg", ".jpeg")))
        read: Callable[[str], bytes] = opened.read
    else:
        names = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        read = lambda name: Path(name).read_bytes()  # noqa: E731
    if not names:
        raise SystemExit(f"There are no JPEG files in {folder}.")
    return read, names


def write_celeba(folder: Path, count: int, face: Callable[[int], tuple[bytes, list[bool]]]) -> int:
    """Write `count` faces in CelebA's layout, the images stored in a zip; return the bytes of the zip."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number + 1:06d}.jpg" for number in range(count)]
    rows = [str(count), " ".join(ATTRIBUTE_NAMES) + " "]
    with zipfile.ZipFile(folder / ARCHIVE, "w", zipfile.ZIP_STORED) as archive:
        for number, name in enumerate(names):
            jpeg, attributes = face(number)
            archive.writestr(f"img_align_celeba/{name}", jpeg)
            rows.append(f"{name} {' '.join(f'{1 if has else -1:2d}' for has in attributes)}")
    (folder / "list_attr_celeba.txt").write_text("\n".join(rows) + "\n")
    (folder / "list_eval_partition.txt").write_text("".join(_partition(names)))
    return (folder / ARCHIVE).stat().st_size


def _partition(names: list[str]) -> Iterator[str]:
    for number, name in enumerate(names):
        split = int(number >= _VALID_FROM * len(names)) + int(number >= _TEST_FROM * len(names))
        yield f"{name} {split}\n"
