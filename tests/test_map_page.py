"""The map as one page: what is in the file, and that nothing in it can be mistaken for something else."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zlib
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from PIL import Image

from facevae.figures import map_page as module
from facevae.figures.map_page import SHEET_FACES, MapFaces, Quality, Sheets, face_sheets, map_page, packed, quantised
from facevae.web import SCATTER_MODULES, asset, bundle, text
from support import drawn_faces, random_images

AWKWARD = [
    "</script><script>alert(1)</script>",
    "<b>&\"'`",
    "Ζωή 🙂 עברית\u202e",
    "two\nlines",
    "",
    "{{style}}",
    "\ud800",
]


class Reader(HTMLParser):
    """Reads a page back: its elements with their attributes and text, and what the data blocks hold."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], str]] = []
        self._inside = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), ""))
        self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            tag, attributes, before = self.elements[-1]
            self.elements[-1] = (tag, attributes, before + data)

    def text(self, tag: str) -> str:
        """The text of the only element of that kind that has any."""
        (found,) = [content for name, attributes, content in self.elements if name == tag and not attributes]
        return found

    def block(self, name: str) -> bytes:
        """The bytes of a data block."""
        (content,) = [content for _, attributes, content in self.elements if attributes.get("id") == name]
        return base64.b64decode(content, validate=True)

    def data(self, name: str) -> bytes:
        return zlib.decompress(self.block(f"data-{name}"))

    def json(self, name: str) -> Any:
        return json.loads(self.data(name))

    @property
    def policy(self) -> str:
        (found,) = [
            attributes["content"]
            for _, attributes, _ in self.elements
            if attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        assert found is not None
        return found


def some_faces(count: int = 5, **changes: Any) -> MapFaces:
    random = np.random.default_rng(count)
    values: dict[str, Any] = {
        "points": random.normal(size=(count, 2)).astype(np.float32),
        "names": [f"{row}.jpg" for row in range(count)],
        "attribute_names": ("Bald", "Smiling"),
        "has": random.random((count, 2)) < 0.5,
        "opening": 1,
        "beneath": None,
        "summary": f"{count} faces",
        "sheets": None,
    }
    return MapFaces(**(values | changes))


def written(faces: MapFaces, **options: Any) -> str:
    return "".join(map_page(faces, **options))


def places(numbers: NDArray[np.uint16], frame: dict[str, float]) -> NDArray[np.float64]:
    """As map.js does it."""
    found: NDArray[np.float64] = numbers * np.array([frame["stepX"], frame["stepY"]]) + np.array(
        [frame["x"], frame["y"]]
    )
    return found


@given(
    npst.arrays(
        np.float32,
        st.tuples(st.integers(1, 30), st.just(2)),
        elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
    )
)
@example(np.full((3, 2), 4.5, dtype=np.float32))
def test_coordinates_are_off_by_half_a_step_at_the_most(points: NDArray[np.float32]) -> None:
    numbers, frame = quantised(points)
    assert numbers.dtype == np.uint16
    off = np.abs(places(numbers, frame) - points)
    size = np.ptp(points.astype(np.float64), axis=0)
    assert (off <= size / (2 * 65535) * (1 + 1e-9) + 1e-9).all()
    # The outermost dots stay where they are, so that the map keeps its size.
    assert np.abs(np.ptp(places(numbers, frame), axis=0) - size).max() <= 1e-9 * max(1.0, float(size.max()))


@given(npst.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 5))))
def test_attributes_are_bits(has: NDArray[np.bool_]) -> None:
    count, attributes = has.shape
    bits = packed(has)
    stride = -(-count // 8)
    assert bits.shape == (attributes, stride)
    flat = bits.tobytes()
    # As map.js reads them.
    for attribute in range(attributes):
        read = [bool(flat[attribute * stride + (row >> 3)] >> (row & 7) & 1) for row in range(count)]
        assert read == has[:, attribute].tolist()


@given(st.lists(st.text(), min_size=1, max_size=8))
@example(AWKWARD)
def test_names_of_any_text_come_back(names: list[str]) -> None:
    attribute_names = [f"{name} {number}" for number, name in enumerate(names)]
    has = np.eye(len(names), dtype=bool)
    page = written(some_faces(len(names), names=names, attribute_names=attribute_names, has=has, opening=0))
    page.encode()  # which a lone surrogate would not survive
    reader = Reader(page)
    assert reader.json("names") == names
    assert reader.json("page")["attributes"] == attribute_names
    # However they are called, the page has the elements that it has otherwise.
    usual = Reader(written(some_faces(len(names), has=has, attribute_names=["A"] * len(names))))
    assert [element[:2] for element in reader.elements] == [element[:2] for element in usual.elements]


@pytest.mark.parametrize("heading", AWKWARD[:4])
def test_headings_are_text(heading: str) -> None:
    page = written(some_faces(summary="{{title}}"), heading=heading)
    reader = Reader(page)
    assert reader.text("title").startswith(f"{heading}: {{{{title}}}}")
    assert reader.text("h1").strip() == heading
    assert "alert(1)</script>" not in page


def test_the_page_allows_nothing_but_what_it_brings() -> None:
    reader = Reader(written(some_faces()))

    def digest(content: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    style, script = digest(reader.text("style")), digest(reader.text("script"))
    assert reader.policy == (
        f"default-src 'none'; script-src {script}; style-src {style}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    linked = [
        attributes[name] for _, attributes, _ in reader.elements for name in ("src", "href") if name in attributes
    ]
    assert all(target is not None and target.startswith("data:") for target in linked)
    assert not any(attributes.get("style") for _, attributes, _ in reader.elements)
    # The policy comes before whatever it is for.
    kinds = [tag if "http-equiv" not in attributes else "policy" for tag, attributes, _ in reader.elements]
    assert kinds.index("policy") < min(kinds.index(tag) for tag in ("style", "script", "link"))


def test_what_the_page_holds() -> None:
    faces = some_faces(20)
    reader = Reader(written(faces))
    assert reader.json("names") == faces.names
    page = reader.json("page")
    assert {name: page[name] for name in ("count", "beneath", "attributes", "opening", "thumbnails")} == {
        "count": 20,
        "beneath": 0,
        "attributes": ["Bald", "Smiling"],
        "opening": 1,
        "thumbnails": None,
    }
    numbers = np.frombuffer(reader.data("points"), dtype="<u2").reshape(-1, 2)
    assert np.abs(places(numbers, page["frame"]) - faces.points).max() < 1e-4
    assert reader.data("traits") == packed(faces.has if faces.has is not None else np.zeros((0, 0), bool)).tobytes()


def test_the_dots_of_an_older_map_follow_the_others() -> None:
    beneath = np.array([[30.0, -40.0], [50.0, 60.0], [0.0, 0.0]], dtype=np.float32)
    faces = some_faces(4, beneath=beneath)
    reader = Reader(written(faces))
    page = reader.json("page")
    assert (page["count"], page["beneath"]) == (4, 3)
    numbers = np.frombuffer(reader.data("points"), dtype="<u2").reshape(-1, 2)
    assert np.abs(places(numbers, page["frame"]) - np.concatenate([faces.points, beneath])).max() < 1e-2


def test_without_attributes() -> None:
    reader = Reader(written(some_faces(3, attribute_names=(), has=None, opening=None)))
    assert reader.json("page")["attributes"] == []
    assert reader.json("page")["opening"] is None
    assert not any(attributes.get("id") == "data-traits" for _, attributes, _ in reader.elements)


def test_the_same_faces_make_the_same_page() -> None:
    images = random_images(10)
    pages = [written(some_faces(10, sheets=face_sheets(10, lambda a, b: images[a:b]))) for _ in range(2)]
    assert pages[0] == pages[1]


# ------------------------------------------------------------------------------------------ sheets


def tiles(sheets: Sheets, count: int) -> NDArray[np.uint8]:
    """The faces (count, size, size, 3), as map.js finds them."""
    found = []
    for row in range(count):
        with Image.open(io.BytesIO(sheets.jpegs[row // SHEET_FACES])) as sheet:
            left, top = row % SHEET_FACES % 32 * sheets.size, row % SHEET_FACES // 32 * sheets.size
            found.append(np.array(sheet.crop((left, top, left + sheets.size, top + sheets.size))))
    return np.stack(found)


def off(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """The root mean square of the differences."""
    return float(np.sqrt(np.mean((first.astype(float) - second.astype(float)) ** 2)))


def test_every_face_is_in_its_place() -> None:
    images = drawn_faces(40, 32)
    read: list[tuple[int, int]] = []
    told: list[int] = []

    def reader(start: int, stop: int) -> NDArray[np.uint8]:
        read.append((start, stop))
        return images[start:stop]

    sheets = face_sheets(40, reader, done=told.append)
    assert (sheets.size, len(sheets.jpegs), told) == (32, 1, [40])
    assert set(read) == {(0, 32), (32, 40)}
    found = tiles(sheets, 40)
    assert off(found, images) < 8
    # Each is nearest to itself.
    assert all(min(range(40), key=lambda other: off(found[row], images[other])) == row for row in range(40))


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (1024, 1), (1025, 2), (2049, 3)])
def test_how_many_sheets(count: int, expected: int) -> None:
    shades = (np.arange(count) % 251).astype(np.uint8)
    sheets = face_sheets(count, lambda a, b: np.broadcast_to(shades[a:b, None, None, None], (b - a, 16, 16, 3)))
    assert len(sheets.jpegs) == expected
    assert abs(int(tiles(sheets, count)[-1].mean()) - int(shades[-1])) <= 1


@pytest.mark.parametrize("size", [32, 24, 16])
def test_faces_do_not_run_into_each_other(size: int) -> None:
    """Black and white faces in turns: what is reduced and compressed stays black and white up to its border."""
    images = np.zeros((64, 32, 32, 3), dtype=np.uint8)
    images[::2] = 255
    sheets = Sheets(size, [module._sheet(images, Quality(size, 65))])
    found = tiles(sheets, 64)
    assert found[::2].min() >= 253
    assert found[1::2].max() <= 2


def test_the_budget_decides_the_size_and_the_quality() -> None:
    images = random_images(64, 32)

    def made(budget: int) -> tuple[int, int]:
        sheets = face_sheets(64, lambda a, b: images[a:b], budget=budget)
        return sheets.size, len(sheets.jpegs[0])

    sizes = {quality: len(module._sheet(images, quality)) for quality in module._qualities(32)}
    assert list(sizes) == [Quality(size, jpeg) for size in (32, 24, 16) for jpeg in (85, 75, 65)]
    for budget in [*sizes.values(), *(size - 1 for size in sizes.values())]:
        # The first that fits; where none does, the last.
        quality = next((quality for quality, size in sizes.items() if size <= budget), Quality(16, 65))
        assert made(budget) == (quality.size, sizes[quality])


@pytest.mark.parametrize(("side", "expected"), [(16, 16), (20, 20), (64, 64), (96, 96), (128, 96), (512, 96)])
def test_large_faces_are_reduced(side: int, expected: int) -> None:
    images = drawn_faces(2, side)
    sheets = face_sheets(2, lambda a, b: images[a:b])
    assert sheets.size == expected
    reduced = np.stack([np.asarray(Image.fromarray(image).resize((expected, expected), 4)) for image in images])
    assert off(tiles(sheets, 2), reduced) < 8


# ------------------------------------------------------------------------------------------ assets


def test_modules_become_one_script() -> None:
    script = bundle(*SCATTER_MODULES, "map.js")
    lines = script.splitlines()
    assert not [line for line in lines if line.startswith(("import ", "export "))]
    assert script.count("class Scatter {") == 1
    # What the modules import from each other has to come first, and to be all that there is.
    imported = [line for name in SCATTER_MODULES for line in text(name).splitlines() if line.startswith("import ")]
    assert len(imported) == 3
    assert "</script" not in script.lower()
    assert "</style" not in (text("theme.css") + text("map.css")).lower()
    assert asset("theme.css").decode() == text("theme.css")


def test_top_level_names_of_the_modules_differ() -> None:
    """In one script, two of a kind would be an error, or worse, the wrong one."""
    declared = [
        line.removeprefix("export ").removeprefix("async ").split()[1].split("(")[0]
        for name in (*SCATTER_MODULES, "map.js")
        for line in text(name).splitlines()
        if line.removeprefix("export ").removeprefix("async ").startswith(("class ", "function ", "const ", "let "))
    ]
    assert len(declared) > 30
    assert sorted(set(declared)) == sorted(declared)
