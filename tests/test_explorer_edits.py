"""How the explorer's page names faces and asks for edits, in JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevae.errors import UsageError
from facevae.explorer.edits import FARTHEST, Edit, number, parse_edit, parse_json, upscale_factor, whole_number
from facevae.explorer.face_refs import (
    LARGEST,
    FaceRef,
    MeanFace,
    PhotoFace,
    RandomFace,
    RowFace,
    parse_face,
    plain_number,
)
from facevae.explorer.kept import file_name

NUMBERS = st.integers(0, LARGEST)
FACES: st.SearchStrategy[FaceRef] = st.one_of(
    st.builds(RowFace, NUMBERS),
    st.builds(PhotoFace, NUMBERS),
    st.builds(MeanFace, NUMBERS),
    st.builds(RandomFace, NUMBERS, st.floats(0.0, 100.0).map(abs)),
)
MOVES = st.dictionaries(st.text(min_size=1, max_size=8), st.floats(-FARTHEST, FARTHEST), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["face", "moves", "keep", "x"]), inner),
    max_leaves=12,
)


@given(FACES)
def test_a_face_is_read_as_it_is_written(face: FaceRef) -> None:
    assert parse_face(str(face)) == face


def test_how_faces_are_written() -> None:
    faces = [RowFace(0), RandomFace(7, 0.8), RandomFace(7, 1.0), RandomFace(0, 1e-7), PhotoFace(3), MeanFace(2)]
    assert [str(face) for face in faces] == [
        "row/0",
        "random/7/0.8",
        "random/7/1",
        "random/0/1e-07",
        "photo/3",
        "mean/2",
    ]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "row",
            "row/",
            "row/-1",
            "row/01",
            "row/1/2",
            "row/1.5",
            "rows/1",
            "row/٣",
            "row/1 ",
            " row/1",
            "row/1\n",
        ),
        *("random/1", "random/1/", "random/1/-1", "random/1/nan", "random/1/inf", "random/1/101", "random/1/1/1"),
        *(f"row/{LARGEST + 1}", "row/" + "9" * 5000, f"random/{LARGEST + 1}/1", "random/1/1e400", "../../etc/passwd"),
        *(None, 1, ["row/1"], {"face": "row/1"}),
    ],
)
def test_what_names_no_face(text: object) -> None:
    with pytest.raises(UsageError) as error:
        parse_face(text)
    sentence = str(error.value)
    assert sentence.startswith("There is no face ")
    assert sentence.endswith(": a face is row/N, random/SEED/TEMPERATURE, photo/N or mean/N.")
    assert len(sentence) < 200


@given(st.text(max_size=30))
def test_any_text_is_a_face_or_a_sentence(text: str) -> None:
    try:
        face = parse_face(text)
    except UsageError:
        return
    assert parse_face(str(face)) == face


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_as_it_is_written(value: float) -> None:
    assert float(plain_number(value)) == value


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (-2.5, "-2.5"), (0.05, "0.05"), (1e6, "1e06"), (0.1 + 0.2, "0.30000000000000004")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert plain_number(value) == text


@given(FACES, MOVES, st.lists(st.text(max_size=8), max_size=4))
def test_an_edit_is_read_from_its_json(face: FaceRef, moves: dict[str, float], keep: list[str]) -> None:
    body = json.dumps({"face": str(face), "moves": moves, "keep": keep}).encode()
    moved = tuple((name, value) for name, value in moves.items() if value != 0.0)
    assert parse_edit(parse_json(body)) == Edit(face, moved, tuple(keep))


@given(JSON)
def test_any_json_is_an_edit_or_a_sentence(value: Any) -> None:
    try:
        edit = parse_edit(value)
    except UsageError:
        return
    assert all(math.isfinite(step) and step for _, step in edit.moves)


def test_moves_and_keep_may_be_left_out() -> None:
    assert parse_edit({"face": "row/3"}) == Edit(RowFace(3))
    assert parse_edit({"face": "row/3", "moves": None, "keep": None}) == Edit(RowFace(3))
    assert parse_edit({"face": "row/3", "moves": {"Smiling": 0, "Male": -0.0}}) == Edit(RowFace(3))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([], "[] is no edit: an edit is an object with a face."),
        ({"face": "row/1", "moves": [1]}, "An edit has moves as an object, and names to keep as a list."),
        ({"face": "row/1", "keep": "Male"}, "An edit has moves as an object, and names to keep as a list."),
        ({"face": "row/1", "keep": [1]}, "An edit has names to keep as a list of texts."),
        ({"face": "row/1", "moves": {"Male": "1"}}, "A move of 'Male' by '1' is no number."),
        ({"face": "row/1", "moves": {"Male": True}}, "A move of 'Male' by True is no number."),
        (
            {"face": "row/1", "moves": {"Male": 100.5}},
            "A move of 'Male' by 100.5 is out of range: use a number from -100 to 100.",
        ),
        (
            {"face": "row/1", "moves": {"Male": -(10**400)}},
            f"A move of 'Male' by -1{'0' * 58}... is out of range: use a number from -100 to 100.",
        ),
        (
            {"face": "row/1", "moves": {"Male": math.nan}},
            "A move of 'Male' by nan is out of range: use a number from -100 to 100.",
        ),
    ],
)
def test_what_is_no_edit(value: object, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_edit(value)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"nan", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}', b"[" * 100_000, b"1" * 5000],
)
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(UsageError, match=r"^The request is not JSON in UTF-8\.$"):
        parse_json(body)


@pytest.mark.parametrize("body", [b"1", b"[]", b"null", b'"row/1"'])
def test_what_is_no_object(body: bytes) -> None:
    with pytest.raises(UsageError, match=r"^The request is not a JSON object\.$"):
        parse_json(body)


@pytest.mark.parametrize("value", [True, "3", 3.0, -1, 11, None, 10**30])
def test_what_is_no_whole_number(value: object) -> None:
    with pytest.raises(UsageError, match=r"^A count of .* is out of range: use a whole number from 1 to 10\.$"):
        whole_number(value, "A count of", 1, 10)
    assert whole_number(10, "A count of", 1, 10) == 10


@pytest.mark.parametrize("value", [True, "3", math.nan, math.inf, -0.1, 100.1, None, 10**400])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(UsageError, match=r"^A temperature of .* is out of range: use a number from 0 to 100\.$"):
        number(value, "A temperature of", 0.0, 100.0)
    assert number(2, "A temperature of", 0.0, 100.0) == 2.0


def test_factors() -> None:
    assert [upscale_factor(value) for value in (None, 0, 2, 3, 4)] == [0, 0, 2, 3, 4]
    for value in (1, 5, -3, "3", 3.0, True, [3]):
        with pytest.raises(UsageError, match=r"^Pictures cannot be upscaled .* times: use "):
            upscale_factor(value)


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("anna.jpg", "anna.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\anna.jpg", "anna.jpg"),
        ("an\x1b[31mna\n.jpg", "an[31mna.jpg"),
        ("", "photo"),
        ("  ", "photo"),
        ("/", "photo"),
        ("..", "photo"),
        ("a" * 500 + ".jpg", "a" * 196 + ".jpg"),
    ],
)
def test_names_of_given_pictures(given_name: str, name: str) -> None:
    assert file_name(given_name) == name
