"""`facevae export`: what other tools read of the latents, to the last bit, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

import facevae
from facevae.errors import DataError, MissingExtraError, UsageError
from facevae.storage.kinds import EXPORTED, kind_of
from facevae.storage.latents import Latents, LatentsWriter, Shard
from helpers import files, put_latents, put_pictures, put_weights, refusal, run, succeed
from support import ATTRIBUTE_NAMES, Recorder

FORMATS = ("csv", "npz", "parquet")
DIM = 6
NAMES = [
    "000001.jpg",
    "a, b.jpg",
    'say "cheese".jpg',
    "two\nlines.jpg",
    "carriage\rreturn.jpg",
    "both\r\nof them.jpg",
    " blanks .jpg ",
    "=1+1.jpg",
    "-1",
    "+x",
    "@x",
    "",
    "'",
    "#",
    "%s%d.jpg",
    "Jörg/日本/🙂.jpg",
    "a\tb;c",
]
SPECIAL = np.array(
    [0.0, -0.0, 0.1, 1e-45, -1.1754942e-38, 3.4028235e38, 16777217.0, 1 / 3, -1e10, 123456.789], dtype=np.float32
)


@dataclass(frozen=True)
class Given:
    """What the latents of a test hold."""

    mean: NDArray[np.float32]
    names: list[str]
    log_variance: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    split: NDArray[np.uint8] | None = None
    attributes: NDArray[np.int8] | None = None
    attribute_names: tuple[str, ...] = ()
    shard: Shard | None = None

    def write(self, path: Path = Path("latents.h5")) -> Given:
        """Write it as a latents file."""
        with LatentsWriter(
            path,
            latent_dim=self.mean.shape[1],
            attribute_names=self.attribute_names,
            with_split=self.split is not None,
            weights_hash="of the weights",
            faces_fingerprint="of the faces",
            facevae_version="0.1",
            precision="bf16",
            shard=self.shard,
        ) as writer:
            log_variance = self.log_variance if self.log_variance.size else np.zeros_like(self.mean)
            writer.append(self.mean, log_variance, self.names, self.split, self.attributes)
            writer.finish()
        return self


def some(count: int, *, names: list[str] | None = None, attributes: bool = True, **more: Any) -> Given:
    """Latents of so many faces, with what is hard to write among their values, in no order."""
    random = np.random.default_rng(count)
    mean, log_variance = random.standard_normal((2, count, DIM)).astype(np.float32)
    mean.flat[: len(SPECIAL)] = SPECIAL[: mean.size]
    split = random.integers(0, 3, count).astype(np.uint8)
    values = np.where(random.random((count, len(ATTRIBUTE_NAMES))) < 0.5, 1, -1).astype(np.int8)
    names = names or [f"{number:06}.jpg" for number in range(1, count + 1)]
    have = {"split": split, "attributes": values, "attribute_names": ATTRIBUTE_NAMES} if attributes else {}
    return Given(mean, names, log_variance, **{**have, **more})


def rows_of(data: bytes) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV, read by Python's own reader."""
    header, *rows = csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True)
    assert {len(row) for row in rows} <= {len(header)}
    return header, rows


def numbers(rows: list[list[str]], columns: slice) -> NDArray[np.float32]:
    return np.array([row[columns] for row in rows]).astype(np.float32)


def same_bits(found: NDArray[Any], wanted: NDArray[Any]) -> bool:
    """Whether two arrays are of one type and hold the same bits, the sign of a zero among them."""
    return found.dtype == wanted.dtype and found.shape == wanted.shape and found.tobytes() == wanted.tobytes()


def columns_of(*, log_variance: bool = False, attributes: bool = True) -> list[str]:
    labels = ["split", *ATTRIBUTE_NAMES] if attributes else []
    logvar = [f"logvar{number}" for number in range(DIM)] if log_variance else []
    return ["name", *labels, *(f"z{number}" for number in range(DIM)), *logvar]


# ------------------------------------------------------------------------------------------ CSV


def test_csv_holds_every_column_and_every_bit(workspace: Path) -> None:
    given_ = some(len(NAMES), names=NAMES).write()
    outcome = succeed("export", "-o", "z.csv")
    assert outcome.lines == ["z.csv"]
    assert outcome.stderr == "17 latents of 6 dimensions, in 13 columns.\n"
    header, rows = rows_of(Path("z.csv").read_bytes())
    assert header == columns_of()
    assert [row[0] for row in rows] == NAMES
    assert given_.split is not None
    assert [row[1] for row in rows] == [("train", "valid", "test")[code] for code in given_.split]
    assert given_.attributes is not None
    assert np.array_equal(np.array([row[2:7] for row in rows]).astype(int), given_.attributes)
    assert {value for row in rows for value in row[2:7]} == {"1", "-1"}
    assert same_bits(numbers(rows, slice(7, None)), given_.mean)


def test_csv_with_log_variances_and_without_attributes(workspace: Path) -> None:
    given_ = some(20).write()
    header, rows = rows_of(succeed("export", "--log-variance", "--no-attributes").stdout)
    assert header == ["name", "split", *columns_of(log_variance=True, attributes=False)[1:]]
    assert same_bits(numbers(rows, slice(2, 8)), given_.mean)
    assert same_bits(numbers(rows, slice(8, None)), given_.log_variance)


def test_csv_of_latents_that_have_only_names(workspace: Path) -> None:
    given_ = some(3, attributes=False).write()
    header, rows = rows_of(succeed("export", "-q").stdout)
    assert header == columns_of(attributes=False)
    assert same_bits(numbers(rows, slice(1, None)), given_.mean)


def test_numpy_reads_the_csv(workspace: Path) -> None:
    given_ = some(30).write()
    facevae.export(output="z.csv")
    read = np.genfromtxt("z.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert read["split"].tolist() == [("train", "valid", "test")[code] for code in given_.split]  # type: ignore[union-attr]
    assert same_bits(np.stack([read[f"z{number}"] for number in range(DIM)], axis=1).astype("f4"), given_.mean)


@given(
    names=st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8), max_size=6),
    bits=st.lists(st.integers(0, 2**32 - 1), min_size=12, max_size=12),
)
@example(names=["", "", ""], bits=[0, 1, 2**31, 2**31 + 1, 0x7F7FFFFF, 0x00800000, *range(6)])
@example(names=["\ud7ff\ue000", "\u2028", "\x85\x0b\x0c\x1c", "﻿name"], bits=[0] * 12)
def test_any_names_and_any_floats_are_read_back_from_every_format(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], bits: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    values = np.array(bits, dtype=np.uint32).view(np.float32)
    values = np.where(np.isfinite(values), values, np.float32(0))
    given_ = Given(np.resize(values, (len(names), 12)), names).write(folder / "z.h5")
    for file_format in ("csv", "npz", *(["parquet"] if has_pyarrow() else [])):
        facevae.export(folder / "z.h5", folder / f"z.{file_format}")
    header, rows = rows_of((folder / "z.csv").read_bytes())
    assert header == ["name", *(f"z{number}" for number in range(12))]
    assert [row[0] for row in rows] == names
    if names:
        assert same_bits(numbers(rows, slice(1, None)), given_.mean)
    with np.load(folder / "z.npz") as arrays:
        assert arrays["names"].tolist() == names
        assert same_bits(arrays["mean"], given_.mean)
    if has_pyarrow():
        table = read_parquet(folder / "z.parquet")
        assert table["name"].to_pylist() == names
        if names:
            assert same_bits(np.stack([table[name].to_numpy() for name in header[1:]], axis=1), given_.mean)


def test_a_name_that_is_not_text_becomes_text(workspace: Path) -> None:
    some(2, names=["\udce4.jpg", "ä.jpg"]).write()
    assert [row[0] for row in rows_of(succeed("export").stdout)[1]] == ["\\xe4.jpg", "ä.jpg"]
    succeed("export", "-o", "z.npz")
    with np.load("z.npz") as arrays:
        assert arrays["names"].tolist() == ["\\xe4.jpg", "ä.jpg"]


def test_csv_goes_to_a_terminal_but_binary_does_not(workspace: Path) -> None:
    some(2).write()
    outcome = run("export", terminal="stdout")
    assert (outcome.code, len(outcome.lines)) == (0, 3)
    for name in ("npz", "parquet"):
        assert refusal("export", "--format", name, code=2, terminal="stdout") == (
            "Standard output is a terminal and the result is binary: "
            f"redirect it (facevae export --format {name} > latents.{name}) or name a file with -o FILE."
        )


# ------------------------------------------------------------------------------------------ NPZ


def test_npz_holds_the_arrays_of_the_latents(workspace: Path) -> None:
    given_ = some(25).write()
    assert succeed("export", "-o", "z.npz", "--log-variance").lines == ["z.npz"]
    with np.load("z.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {
            "metadata",
            "names",
            "split",
            "attribute_names",
            "attributes",
            "mean",
            "log_variance",
        }
        assert arrays["names"].tolist() == given_.names
        assert arrays["split"].tolist() == [("train", "valid", "test")[code] for code in given_.split]  # type: ignore[union-attr]
        assert arrays["attribute_names"].tolist() == list(ATTRIBUTE_NAMES)
        assert same_bits(arrays["attributes"], given_.attributes)  # type: ignore[arg-type]
        assert same_bits(arrays["mean"], given_.mean)
        assert same_bits(arrays["log_variance"], given_.log_variance)
        assert json.loads(str(arrays["metadata"])) == METADATA
    succeed("export", "-o", "z.npz", "--no-attributes")
    with np.load("z.npz") as arrays:
        assert set(arrays) == {"metadata", "names", "split", "mean"}


METADATA = {
    "format": "facevae exported latents",
    "format_version": 1,
    "weights_hash": "of the weights",
    "faces_fingerprint": "of the faces",
    "precision": "bf16",
    "facevae_version": "0.1",
}


def test_the_same_latents_give_the_same_npz(workspace: Path) -> None:
    some(4).write()
    facevae.export(output="a.npz")
    facevae.export(output="b.npz")
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()


def test_npz_to_a_stream(workspace: Path) -> None:
    given_ = some(4).write()
    outcome = succeed("export", "--format", "npz", "-o", "-")
    assert outcome.stderr == "4 latents of 6 dimensions, in 13 columns.\n"
    with np.load(io.BytesIO(outcome.stdout)) as arrays:
        assert same_bits(arrays["mean"], given_.mean)


# ------------------------------------------------------------------------------------------ Parquet


def has_pyarrow() -> bool:
    import importlib.util

    return importlib.util.find_spec("pyarrow") is not None


def read_parquet(path: Path) -> Any:
    from pyarrow import parquet

    return parquet.read_table(path)


def test_parquet_holds_every_column_and_every_bit(workspace: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    given_ = some(len(NAMES), names=NAMES).write()
    outcome = succeed("export", "-o", "z.parquet", "--log-variance")
    assert outcome.lines == ["z.parquet"]
    assert outcome.stderr == "17 latents of 6 dimensions, in 19 columns.\n"
    table = read_parquet(Path("z.parquet"))
    assert table.column_names == columns_of(log_variance=True)
    assert [field.type for field in table.schema] == [pa.string()] * 2 + [pa.int8()] * 5 + [pa.float32()] * 12
    assert table["name"].to_pylist() == NAMES
    assert table["split"].to_pylist() == [("train", "valid", "test")[code] for code in given_.split]  # type: ignore[union-attr]
    found = {name: table[name].to_numpy() for name in table.column_names[2:]}
    assert same_bits(np.stack([found[name] for name in ATTRIBUTE_NAMES], axis=1), given_.attributes)  # type: ignore[arg-type]
    assert same_bits(np.stack([found[f"z{number}"] for number in range(DIM)], axis=1), given_.mean)
    assert same_bits(np.stack([found[f"logvar{number}"] for number in range(DIM)], axis=1), given_.log_variance)
    assert json.loads(table.schema.metadata[b"facevae"]) == METADATA


def test_parquet_of_latents_that_have_only_names(workspace: Path) -> None:
    pytest.importorskip("pyarrow")
    given_ = some(3, attributes=False).write()
    facevae.export(output="z.parquet")
    table = read_parquet(Path("z.parquet"))
    assert table.column_names == columns_of(attributes=False)
    assert same_bits(table["z0"].to_numpy(), np.ascontiguousarray(given_.mean[:, 0]))


def test_parquet_without_its_extra(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some(3).write()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    sentence = 'Parquet needs the extra parquet: pip install "facevae[parquet]", or export to CSV or NPZ.'
    assert refusal("export", "-o", "z.parquet", code=2) == sentence
    with pytest.raises(MissingExtraError, match=r"^Parquet needs the extra parquet: "):
        facevae.export(file_format="parquet")
    assert files() == ["latents.h5"]
    succeed("export", "-o", "z.csv")
    succeed("export", "-o", "z.npz")


# ------------------------------------------------------------------------------------------ slices


def test_many_slices_are_one_table(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some(25).write()
    whole, recorder = {}, Recorder()
    formats = FORMATS if has_pyarrow() else FORMATS[:2]
    for name in formats:
        facevae.export(output=f"whole.{name}", log_variance=True)
        whole[name] = Path(f"whole.{name}").read_bytes()
    for constant in ("_CSV_ROWS", "_NPZ_ROWS", "_GROUP_ROWS"):
        monkeypatch.setattr(f"facevae.storage.export_formats.{constant}", 10)
    for name in formats:
        facevae.export(output=f"sliced.{name}", log_variance=True, report=recorder)
    assert Path("sliced.csv").read_bytes() == whole["csv"]
    assert Path("sliced.npz").read_bytes() == whole["npz"]
    assert [(event.stage, event.done, event.total, event.unit) for event in recorder.progress] == [
        ("export", done, 25, "latents") for _ in formats for done in (10, 20, 25)
    ]
    if has_pyarrow():
        from pyarrow import parquet

        assert parquet.ParquetFile("sliced.parquet").num_row_groups == 3
        assert read_parquet(Path("sliced.parquet")).equals(read_parquet(Path("whole.parquet")))


def test_a_shard_says_which_part_it_is(workspace: Path) -> None:
    some(15, shard=Shard(2, 2, 30)).write(Path("z.2-of-2.h5"))
    facevae.export("z.2-of-2.h5", "z.npz")
    with np.load("z.npz") as arrays:
        found = json.loads(str(arrays["metadata"]))
        assert len(arrays["mean"]) == 15
    assert found == {**METADATA, "shard": 2, "shards": 2, "total": 30, "first_row": 15}


def test_no_latents_at_all(workspace: Path) -> None:
    some(0).write()
    assert rows_of(succeed("export").stdout) == (columns_of(), [])
    for name in FORMATS if has_pyarrow() else FORMATS[:2]:
        assert facevae.export(output=f"z.{name}").count == 0
    with np.load("z.npz") as arrays:
        assert (arrays["mean"].shape, arrays["names"].shape) == ((0, DIM), (0,))


# ------------------------------------------------------------------------------------------ files and formats


def test_json_has_the_facts(workspace: Path) -> None:
    some(4).write()
    for name in ("csv", "npz"):
        outcome = succeed("export", "-o", f"z.{name}", "--json", "-q")
        assert outcome.json == {"paths": [f"z.{name}"], "format": name, "rows": 4, "columns": 13}
        assert outcome.stderr == ""
    sentence = "The result and JSON cannot both go to standard output: name a file with -o FILE."
    assert refusal("export", "--json", code=2) == sentence
    assert refusal("export", "--json", "-o", "-", "--format", "npz", code=2) == sentence


def test_the_library_chooses_file_and_format(workspace: Path) -> None:
    some(4).write()
    result = facevae.export()
    assert (result.output, result.file_format, result.count, result.latent_dim) == (Path("latents.csv"), "csv", 4, DIM)
    assert list(result.columns) == columns_of()
    assert facevae.export(file_format="npz").output == Path("latents.npz")
    assert facevae.export(output="Z.NPZ", file_format="npz").file_format == "npz"
    stream = io.BytesIO()
    assert facevae.export(output=stream).output is stream
    assert stream.getvalue() == Path("latents.csv").read_bytes()
    assert files() == ["Z.NPZ", "latents.csv", "latents.h5", "latents.npz"]


def test_file_and_format_that_contradict_each_other(workspace: Path) -> None:
    some(2).write()
    known = "use csv, npz or parquet."
    assert refusal("export", "--format", "xls", "-o", "z.csv", code=2) == f"There is no format xls: {known}"
    assert refusal("export", "--format", "xls", code=2) == f"There is no format xls: {known}"
    assert refusal("export", "--format", "xls", code=2, terminal="stdout") == f"There is no format xls: {known}"
    for name in ("z.txt", "z", "z.h5"):
        assert refusal("export", "-o", name, code=2) == (
            f"{name} does not say a format: name a .csv, .npz or .parquet file."
        )
    assert refusal("export", "--format", "npz", "-o", "z.csv", code=2) == (
        "z.csv does not go with --format npz: name a .npz file."
    )
    assert files() == ["latents.h5"]


@pytest.mark.parametrize("name", FORMATS)
def test_it_replaces_what_it_wrote_and_nothing_else(workspace: Path, name: str) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    some(4).write()
    output = Path(f"z.{name}")
    for more in ([], ["--log-variance"], ["--no-attributes"], []):
        succeed("export", "-o", output, *more)
        assert kind_of(output) == EXPORTED
    for content in (
        b"name,age\nAnna,7\n",
        b"PK\x03\x04 of others",
        b"PAR1 of others PAR1",
        b"\xff\xd8\xff a photograph",
    ):
        output.write_bytes(content)
        assert refusal("export", "-o", output, code=2) == (
            f"{output} holds something other than exported latents and would be overwritten: name another output with -o."
        )
        assert output.read_bytes() == content
    output.unlink()
    put_weights(workspace).save(output)
    assert refusal("export", "-o", output, code=2) == (
        f"{output} holds VAE weights and would be overwritten by exported latents: name another output with -o."
    )
    some(4).write(output)
    assert refusal("export", output, "-o", output, code=2) == (
        f"{output} is an input and would be overwritten: name another output with -o."
    )
    output.write_bytes(b"")
    succeed("export", "-o", output)


def test_tables_of_others_are_no_exports(workspace: Path) -> None:
    np.savez("numpy.npz", mean=np.zeros(3))
    contents = {
        "cut.csv": b"name,z0,z1",
        "more.csv": b"name,z0,z1,age\n",
        "other.csv": b"name,age\n",
        "epochs.csv": b"epoch,split,loss\n",
        "PK": b"PK\x03\x04",
        "PAR": b"PAR1",
        "short": b"PAR1\xff\xff\xff\x7fPAR1",
    }
    for name, content in contents.items():
        Path(name).write_bytes(content)
    if has_pyarrow():
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.table({"z0": [1.0]}), "other.parquet")
    assert {name: kind_of(Path(name)) for name in files()} == dict.fromkeys(files())


def test_no_picture_replaces_an_export(workspace: Path) -> None:
    some(20).write()
    succeed("export", "-o", "z.csv")
    Path("z.csv").rename("umap.png")
    assert refusal("umap", code=2) == (
        "umap.png holds exported latents and would be overwritten by a picture: name another output with -o."
    )


# ------------------------------------------------------------------------------------------ latents that cannot be exported


def test_latents_that_are_not_there_or_are_something_else(workspace: Path, faces_file: Path) -> None:
    remedy = "Make one with: facevae encode > latents.h5"
    assert refusal("export") == f"There is no latents.h5. {remedy}"
    assert refusal("export", "none.h5", "-o", "z.npz") == f"There is no none.h5. {remedy}"
    assert refusal("export", "faces.h5") == f"faces.h5 holds prepared faces, not latents. {remedy}"
    Path("notes.h5").write_text("notes")
    assert refusal("export", "notes.h5") == f"notes.h5 is not a file of latents (not HDF5). {remedy}"
    assert refusal("export", "-o", "no/folder.csv") == (
        "There is no folder no to write folder.csv into: create it first."
    )


@pytest.mark.parametrize("name", ["csv", "npz"])
def test_damage_leaves_no_file(workspace: Path, name: str) -> None:
    given_ = some(4)
    given_.mean[3, 2] = np.nan
    given_.write()
    assert refusal("export", "-o", f"z.{name}") == (
        "latents.h5 is damaged (mean holds values that are not finite). Make one with: facevae encode > latents.h5"
    )
    some(4, split=np.array([0, 1, 2, 7], dtype=np.uint8)).write()
    assert refusal("export", "-o", f"z.{name}") == (
        "latents.h5 is damaged (split holds 7). Make one with: facevae encode > latents.h5"
    )
    assert files() == ["latents.h5"]


def test_an_attribute_called_as_another_column(workspace: Path) -> None:
    for name in ("name", "split", "z5", "logvar0"):
        some(3, attribute_names=("Male", name, "Bald", "Young", "Smiling")).write()
        assert refusal("export", "--log-variance", code=2) == (
            f"Two columns would be called {name}, because latents.h5 has an attribute of that name: "
            "leave the attributes out with --no-attributes."
        )
        succeed("export", "--no-attributes")
    succeed("export")  # of which logvar0 is no column
    with pytest.raises(UsageError, match=r"^Two columns would be called logvar0, "):
        facevae.export(output="z.npz", log_variance=True)
    with pytest.raises(DataError, match=r"^There is no none\.h5\. "):
        facevae.export("none.h5")


# ------------------------------------------------------------------------------------------ pipes


def test_latents_from_standard_input(workspace: Path) -> None:
    some(4).write(Path("z.h5"))
    data = Path("z.h5").read_bytes()
    assert succeed("export", "-", stdin=data).stdout == succeed("export", "z.h5").stdout
    assert succeed("export", "-", "-o", "z.npz", stdin=data).lines == ["z.npz"]
    remedy = "send latents to it, as in: facevae encode | facevae export -"
    assert refusal("export", "-", code=2) == f"Standard input is empty: {remedy}"
    assert refusal("export", "-", code=2, terminal="stdin") == f"Standard input is a terminal: {remedy}"
    assert refusal("export", "-", stdin=b"notes") == (
        "stdin is not a file of latents (not HDF5). Make one with: facevae encode > latents.h5"
    )


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_pipes_of_the_shell(workspace: Path) -> None:
    """One reader that wants it all, and one that leaves after a line, of more than a pipe holds."""
    put_weights(workspace)
    put_pictures(Path("faces"), 2)
    some(9000).write()
    facevae_ = f"{shlex.quote(sys.executable)} -m facevae"
    script = (
        f"{facevae_} encode faces/*.png -q | {facevae_} export - | cut -d , -f 1\n"
        f'{facevae_} export | head -n 1; echo "${{PIPESTATUS[0]}}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=120)
    assert done.stdout.decode().splitlines() == [
        "name",
        "faces/face1.png",
        "faces/face2.png",
        ",".join(columns_of()),
        "1",
    ]
    assert done.stderr == b"2 latents of 6 dimensions, in 7 columns.\n"


def test_what_encode_writes_is_what_export_reads(workspace: Path, latents_file: Path) -> None:
    facevae.export(output="z.npz", log_variance=True)
    with np.load("z.npz") as arrays, Latents("latents.h5") as latents:
        assert same_bits(arrays["mean"], latents.mean())
        assert same_bits(arrays["log_variance"], latents.log_variance())
        assert arrays["names"].tolist() == latents.names
        assert json.loads(str(arrays["metadata"]))["weights_hash"] == latents.weights_hash


def test_info_says_what_an_export_is(workspace: Path) -> None:
    put_weights(workspace)
    put_latents(workspace)
    succeed("export", "-o", "z.csv", "-q")
    assert refusal("info", "z.csv") == (
        "z.csv holds exported latents, for other tools: name the latents that it was made from."
    )
