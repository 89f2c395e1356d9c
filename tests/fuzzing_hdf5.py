"""What can be wrong with an HDF5 file beyond its bytes, each as an edit of an open one."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np

Edit = Callable[[h5py.File], None]

SECRET = "secret.h5"
"""In the folder of the file that is read: what a link out of it would reach."""

_STRING = h5py.string_dtype("utf-8")
_HUGE = 10**9
_ZEROS = 1 << 24


def put_secret(folder: Path) -> None:
    """Write the file that no other may lead to: it has every dataset that a reader asks for."""
    with h5py.File(folder / SECRET, "w") as file:
        for name, shape, dtype in (
            ("images", (12, 16, 16, 3), "u1"), ("mean", (12, 3), "f4"), ("log_variance", (12, 3), "f4"),
            ("split", (12,), "u1"), ("attributes", (12, 5), "i1"), ("coordinates", (12, 2), "f4"), ("rows", (12,), "i8"),
        ):  # fmt: skip
            file[name] = np.ones(shape, dtype)
        file.create_dataset("names", data=[f"secret {number}" for number in range(12)], dtype=_STRING)
    (folder / "secret.bin").write_bytes(b"\1" * (1 << 16))


def links_out(file: h5py.File) -> Iterator[tuple[str, Edit]]:
    """Yield what leads out of the file, which must be refused."""
    for name, dataset in file.items():
        shape, dtype = dataset.shape, dataset.dtype
        yield f"{name}: external link", partial(_put, name=name, value=h5py.ExternalLink(SECRET, name))
        yield f"{name}: virtual", partial(_virtual, name=name, shape=shape, dtype=dtype)
        yield f"{name}: a soft link to an external link", partial(_hidden_link, name=name)
        if dtype.kind != "O":
            yield f"{name}: external storage", partial(_external, name=name, shape=shape, dtype=dtype)


def bombs(file: h5py.File) -> Iterator[tuple[str, Edit]]:
    """Yield datasets that declare much more than the file holds, which must be refused."""
    for name, dataset in file.items():
        shape, dtype = dataset.shape, dataset.dtype
        if not shape:
            continue
        yield f"{name}: huge, unallocated", partial(_huge, name=name, shape=(_HUGE, *shape[1:]), dtype=dtype)
        if dtype.kind != "O":
            yield f"{name}: zeros, packed", partial(_packed, name=name, shape=shape, dtype=dtype)
            wide = (len(dataset), *shape[1:-1], _HUGE)
            yield (
                f"{name}: huge rows",
                partial(_huge, name=name, shape=wide, dtype=dtype, chunks=(1, *shape[1:-1], 1024)),
            )
        else:
            yield f"{name}: one text many times", partial(_one_text, name=name)


def edits(file: h5py.File) -> Iterator[tuple[str, Edit]]:
    """Yield what a damaged or foreign file may have; some of it is harmless."""
    for name, dataset in file.items():
        yield f"{name}: missing", partial(_delete, name=name)
        yield f"{name}: a group", partial(_group, name=name)
        yield f"{name}: a soft link to itself", partial(_put, name=name, value=h5py.SoftLink(f"/{name}"))
        yield f"{name}: a soft link to nothing", partial(_put, name=name, value=h5py.SoftLink("/nothing"))
        yield f"{name}: a group that holds itself", partial(_ring, name=name)
        for label, value in _arrays(dataset):
            yield f"{name}: {label}", partial(_put, name=name, value=value)
        yield f"{name}: texts of any length", partial(_texts, name=name, shape=dataset.shape)
        yield f"{name}: references", partial(_references, name=name, shape=dataset.shape)
        yield f"{name}: regions", partial(_regions, name=name, shape=dataset.shape)
        yield f"{name}: nothing", partial(_put, name=name, value=h5py.Empty("f4"))
        yield f"{name}: a named type", partial(_put, name=name, value=np.dtype("f4"))
        if dataset.dtype.kind == "f":
            for number in (np.nan, np.inf, 3e38):
                yield f"{name}: {number}", partial(_set, name=name, number=number)
        if dataset.dtype.kind == "i" or dataset.dtype == np.uint8:
            yield f"{name}: 77", partial(_set, name=name, number=77)
    for name in file.attrs:
        yield f"attribute {name}: missing", partial(_delete_attribute, name=name)
        for number, value in enumerate(_values()):
            yield f"attribute {name}: value {number}", partial(_set_attribute, name=name, value=value)
        yield f"attribute {name}: a reference", partial(_refer, name=name)
    for version in (2, 99, 2**62, -1, "two"):
        yield f"version {version}", partial(_set_attribute, name="format_version", value=version)


def _arrays(dataset: h5py.Dataset) -> Iterator[tuple[str, Any]]:
    shape, count = dataset.shape, dataset.shape[0] if dataset.shape else 1
    for dtype in ("i1", "u1", ">u2", "i8", "u8", "f2", "f4", ">f8", "c8", "?", "S3", "V5", "i4,f4"):
        yield f"as {dtype}", np.zeros(shape, dtype)
    yield "as enum", np.zeros(shape, h5py.enum_dtype({"a": 0, "b": 1}, "i1"))
    yield "as float64 of 1e300", np.full(shape, 1e300)
    if dataset.dtype.kind != "O":
        for other in (
            (),
            (0,),
            (count,),
            (count, 1),
            (count, 0),
            (count + 1, *shape[1:]),
            (1, *shape[1:]),
            (0, *shape[1:]),
        ):
            yield f"of shape {other}", np.zeros(other, dataset.dtype)
        yield "with another axis", np.zeros((*shape, 1), dataset.dtype)


def _values() -> tuple[Any, ...]:
    return (
        0, -1, 7, 2**31, 2**62, -(2**62), 0.5, float("nan"), float("inf"), "", "x", "\n\x1b[2J\x07", "a" * 40_000,
        b"\xff\xfe\x80", np.zeros(3), np.zeros((2, 2), "i1"), np.array([], "i4"), [b"a", b"b"], True,
        np.zeros((), "i4,f4"), np.zeros((), "c16"),
        h5py.Empty("S1"), np.zeros((), "V8"),
    )  # fmt: skip


def _delete(file: h5py.File, name: str) -> None:
    del file[name]


def _put(file: h5py.File, name: str, value: Any) -> None:
    del file[name]
    file[name] = value


def _set(file: h5py.File, name: str, number: float) -> None:
    dataset = file[name]
    dataset[-1] = number if dataset.dtype.kind == "f" else 77


def _group(file: h5py.File, name: str) -> None:
    del file[name]
    file.create_group(name)["x"] = 1


def _ring(file: h5py.File, name: str) -> None:
    del file[name]
    file.create_group(name)
    file[name][name] = file[name]


def _texts(file: h5py.File, name: str, shape: tuple[int, ...]) -> None:
    del file[name]
    texts = [b"", b"\xff\xfe", b"a\1b", b"../../etc/passwd", b"\x1b[2J\n", b"x" * 10_000]
    data = np.resize(np.array(texts, dtype=object), shape)
    file.create_dataset(name, data=data, dtype=h5py.string_dtype("ascii"))


def _one_text(file: h5py.File, name: str) -> None:
    """A million names that are all the same megabyte of the file."""
    del file[name]
    dataset = file.create_dataset(name, shape=(4096,), dtype=_STRING, chunks=(4096,))
    dataset[0] = "x" * (1 << 20)
    _, block = dataset.id.read_direct_chunk((0,))
    dataset.id.write_direct_chunk((0,), block[:16] * 4096)


def _references(file: h5py.File, name: str, shape: tuple[int, ...]) -> None:
    reference = file.ref
    del file[name]
    dataset = file.create_dataset(name, shape=shape, dtype=h5py.ref_dtype)
    if shape and dataset.size:
        dataset[0] = np.full(shape[1:], reference, dtype=object) if shape[1:] else reference


def _regions(file: h5py.File, name: str, shape: tuple[int, ...]) -> None:
    del file[name]
    file.create_dataset(name, shape=shape, dtype=h5py.regionref_dtype)


def _hidden_link(file: h5py.File, name: str) -> None:
    del file[name]
    file[name] = h5py.SoftLink("/elsewhere/inside")
    file.create_group("elsewhere")["inside"] = h5py.ExternalLink(SECRET, name)


def _virtual(file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any) -> None:
    del file[name]
    layout = h5py.VirtualLayout(shape=shape, dtype=dtype)
    layout[...] = h5py.VirtualSource(SECRET, name, shape=shape, dtype=dtype)
    file.create_virtual_dataset(name, layout)


def _external(file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any) -> None:
    del file[name]
    file.create_dataset(name, shape=shape, dtype=dtype, external=[("secret.bin", 0, h5py.h5f.UNLIMITED)])


def _huge(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any, chunks: tuple[int, ...] | None = None
) -> None:
    del file[name]
    file.create_dataset(name, shape=shape, dtype=dtype, chunks=chunks or (64, *shape[1:]))


def _packed(file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any) -> None:
    """A few gigabytes of zeros, as the same few packed kilobytes again and again."""
    del file[name]
    row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    rows = max(1, _ZEROS // row)
    blocks = 128
    dataset = file.create_dataset(
        name, shape=(blocks * rows, *shape[1:]), dtype=dtype, chunks=(rows, *shape[1:]), compression="gzip"
    )
    packed = zlib.compress(bytes(rows * row), 9)
    for block in range(blocks):
        dataset.id.write_direct_chunk((block * rows, *(0 for _ in shape[1:])), packed)


def _delete_attribute(file: h5py.File, name: str) -> None:
    del file.attrs[name]


def _set_attribute(file: h5py.File, name: str, value: Any) -> None:
    file.attrs[name] = value


def _refer(file: h5py.File, name: str) -> None:
    file.attrs.create(name, file.ref, dtype=h5py.ref_dtype)


def edited(data: bytes, *wanted: Edit) -> bytes:
    """Return an HDF5 file after some edits."""
    with tempfile.TemporaryDirectory(prefix="facevae-fuzz-") as folder:
        path = Path(folder) / "edited.h5"
        path.write_bytes(data)
        with h5py.File(path, "r+") as file:
            for edit in wanted:
                edit(file)
        return path.read_bytes()


def all_edits(data: bytes, kinds: Callable[[h5py.File], Iterator[tuple[str, Edit]]]) -> list[tuple[str, Edit]]:
    """Return the edits of a kind that there are for a file."""
    with tempfile.TemporaryDirectory(prefix="facevae-fuzz-") as folder:
        path = Path(folder) / "edited.h5"
        path.write_bytes(data)
        with h5py.File(path, "r") as file:
            return list(kinds(file))


_KNOWN: dict[int, list[tuple[str, Edit]]] = {}


def mutate_hdf5(data: bytes, random: Random) -> bytes:
    """Return an HDF5 file after one of the edits, or two."""
    known = _KNOWN.get(hash(data))
    if known is None:
        known = [pair for kinds in (edits, links_out, bombs) for pair in all_edits(data, kinds)]
        _KNOWN[hash(data)] = known
    count = random.choice((1, 1, 2))
    chosen = [edit for name, edit in random.sample(known, count) if "packed" not in name or random.random() < 0.02]
    try:
        return edited(data, *chosen)
    except (
        ArithmeticError,
        AttributeError,
        KeyError,
        OSError,
        TypeError,
        ValueError,
        RuntimeError,
    ):  # the second is not possible after the first
        return edited(data, *chosen[:1])
