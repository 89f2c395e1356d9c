"""The strings in the root of HDF5 files, read without h5py, against files that h5py wrote."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import h5py
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from facevae.storage.hdf5_header import root_strings

STRING = h5py.string_dtype("utf-8")
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)


def hdf5_bytes(names: list[str], others: list[str], rows: int = 5) -> bytes:
    """A file with other attributes before and after, and strings in datasets too."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for number, text in enumerate(others):
            file.attrs[f"other {number}"] = text
        file.create_dataset("names", data=[f"{row}.jpg" for row in range(rows)], dtype=STRING)
        if names:
            file.attrs.create("attribute_names", names, dtype=STRING)
        file.create_dataset("mean", data=np.zeros((rows, 7), np.float32))
        file.attrs["complete"] = True
    return buffer.getvalue()


def read(data: bytes, name: str = "attribute_names") -> tuple[str, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "latents.h5"
        path.write_bytes(data)
        return root_strings(path, name)


@settings(max_examples=40, deadline=None)
@given(names=st.lists(TEXTS, max_size=60), others=st.lists(TEXTS, max_size=15))
def test_what_h5py_writes_is_read(names: list[str], others: list[str]) -> None:
    assert read(hdf5_bytes(names, others)) == tuple(names)


def test_many_names_take_several_heaps() -> None:
    names = [f"name {number} {'x' * (number % 300)}" for number in range(2000)]
    assert read(hdf5_bytes(names, [])) == tuple(names)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_files_give_a_tuple_and_no_error(data: st.DataObject) -> None:
    damaged = bytearray(hdf5_bytes(["Smiling", "Young"], ["facevae latents"]))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.integers(0, len(damaged)))
    for content in (bytes(damaged), bytes(damaged[:length])):
        assert all(isinstance(name, str) for name in read(content))


def test_what_is_no_list_of_strings_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    for value in (7, 2.5, np.arange(3), np.bytes_(b"fixed"), np.array([b"a", b"b"])):
        with h5py.File(path, "w") as file:
            file.attrs["attribute_names"] = value
        assert root_strings(path, "attribute_names") == ()
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs.create("attribute_names", ["a"], dtype=STRING)
    assert root_strings(path, "attribute_names") == ()
    assert root_strings(tmp_path, "attribute_names") == ()
    assert root_strings(tmp_path / "nothing.h5", "attribute_names") == ()


def test_one_string_is_a_list_of_one(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "facevae latents"
    assert root_strings(path, "format") == ("facevae latents",)
