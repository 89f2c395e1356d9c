"""The kinds of data, told by content, and which may be written over which: every pair of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import h5py
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from facevae.config import TrainConfig, UpscalerTrainConfig
from facevae.errors import UsageError
from facevae.model.judge import Judge
from facevae.model.training import Trainer, new_vae
from facevae.model.upscaler_training import PhotographPairs, UpscalerTrainer
from facevae.storage.checkpoint import save_checkpoint
from facevae.storage.coordinates import write_coordinates
from facevae.storage.judge_file import AttributeJudge
from facevae.storage.kinds import DATA_KINDS, kind_of
from facevae.storage.latents import Latents
from facevae.storage.output import check_output
from facevae.storage.upscaler_checkpoint import save_upscaler_checkpoint
from facevae.storage.weights import FaceModel
from helpers import tiny_upscaler
from support import random_images

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
DATA = (
    "prepared faces",
    "latents",
    "UMAP coordinates",
    "VAE weights",
    "a training checkpoint",
    "an attribute judge",
    "upscaler weights",
    "an upscaler's checkpoint",
    "exported latents",
)
"""What facevae writes as data."""


def with_header(header: bytes, *, length: int | None = None) -> bytes:
    """Return the beginning of a safetensors file, whose header may claim another length."""
    return (len(header) if length is None else length).to_bytes(8, "little") + header


OTHER: dict[str, tuple[bytes, str | None]] = {
    "damaged HDF5": (HDF5_SIGNATURE + b"rubbish" * 100, "HDF5 data"),
    "HDF5 cut off": (HDF5_SIGNATURE, "HDF5 data"),
    "empty safetensors": (with_header(b"{}"), "safetensors data"),
    "safetensors of others": (with_header(b'{"__metadata__":{"format":"pt"}}'), "safetensors data"),
    "safetensors without text": (with_header(b'{"__metadata__":{"format":["facevae weights"]}}'), "safetensors data"),
    "safetensors header that is a list": (with_header(b'{"__metadata__":[]}'), "safetensors data"),
    "safetensors header that is no JSON": (with_header(b"{rubbish"), "safetensors data"),
    "safetensors header that is no text": (with_header(b"{\xff\xfe"), "safetensors data"),
    "safetensors header that nests deep": (with_header(b'{"a":' * 100_000), "safetensors data"),
    "safetensors header cut off": (with_header(b'{"__metadata__":', length=500), "safetensors data"),
    "huge header declared": (with_header(b"{}", length=100_000_001), None),
    "hugest header declared": (with_header(b"{}", length=2**64 - 1), None),
    "no header declared": (with_header(b"{}", length=0), None),
    "text": (b"these are notes\n", None),
    "text with a brace": (b"notes {1 { 2 {3}", None),
    "table": (b"epoch,split,loss\n", None),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(100), None),
    "one byte": (b"{", None),
    "nothing": (b"", None),
}
"""Files that facevae did not write, or that are damaged, with the kind of each."""


@pytest.fixture(scope="module")
def samples(
    tmp_path_factory: pytest.TempPathFactory,
    small_model: FaceModel,
    _faces_template: Path,
    _weights_template: Path,
    _latents_template: Path,
) -> dict[str, Path]:
    """One file of each of facevae's kinds of data, and of two kinds that are others'."""
    folder = tmp_path_factory.mktemp("kinds")
    paths = {kind: folder / kind.replace(" ", "-") for kind in (*DATA, "HDF5 data", "safetensors data")}
    shutil.copy(_faces_template, paths["prepared faces"])
    shutil.copy(_weights_template, paths["VAE weights"])
    shutil.copy(_latents_template, paths["latents"])
    with Latents(_latents_template) as latents:
        rows = torch.arange(latents.count).numpy()
        write_coordinates(paths["UMAP coordinates"], latents.mean()[:, :2], rows, latents, {"seed": 1})
    trainer = Trainer(new_vae(small_model.vae.config, 0), torch.from_numpy(random_images(4)), TrainConfig(batch_size=2))
    trainer.advance()
    save_checkpoint(paths["a training checkpoint"], trainer, seconds=1.0, faces_fingerprint="", history=[])
    AttributeJudge(Judge(2, widths=(1, 1, 1, 1)), ("Male", "Smiling")).save(paths["an attribute judge"])
    upscaler = tiny_upscaler()
    upscaler.save(paths["upscaler weights"])
    pairs = PhotographPairs(torch.from_numpy(random_images(4)))
    save_upscaler_checkpoint(
        paths["an upscaler's checkpoint"],
        UpscalerTrainer(upscaler.network, pairs, UpscalerTrainConfig(batch_size=2)),
        seconds=1.0,
        faces_fingerprint="",
        vae=None,
        history=[],
    )
    paths["exported latents"].write_bytes(b"name,split,Male,z0,z1\n")
    with h5py.File(paths["HDF5 data"], "w") as file:
        file["data"] = [1, 2, 3]
    save_file({"weight": torch.zeros(2)}, paths["safetensors data"])
    return paths


def test_every_kind_has_its_sample(samples: dict[str, Path]) -> None:
    assert set(samples) == DATA_KINDS


@pytest.mark.parametrize("kind", sorted(DATA_KINDS))
def test_the_kind_of_a_file_is_told_by_its_content(samples: dict[str, Path], tmp_path: Path, kind: str) -> None:
    for name in ("faces.h5", "vae.safetensors", "picture.png", "no-suffix"):
        assert kind_of(Path(shutil.copy(samples[kind], tmp_path / name))) == kind


@pytest.mark.parametrize(("content", "kind"), OTHER.values(), ids=OTHER)
def test_the_kind_of_damaged_and_foreign_files(tmp_path: Path, content: bytes, kind: str | None) -> None:
    path = tmp_path / "thing"
    path.write_bytes(content)
    assert kind_of(path) == kind


@given(content=st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: HDF5_SIGNATURE + tail))
def test_any_bytes_have_a_kind_or_none(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    assert (kind_of(path) == "HDF5 data") == content.startswith(HDF5_SIGNATURE)


@given(
    entry=st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.lists(st.text(max_size=5), max_size=3)
)
def test_any_format_name_in_a_header_is_a_kind(tmp_path_factory: pytest.TempPathFactory, entry: object) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(with_header(json.dumps({"__metadata__": {"format": entry}}).encode()))
    assert kind_of(path) == "safetensors data"


def test_a_file_that_cannot_be_read_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        kind_of(tmp_path / "missing")


# ------------------------------------------------------------------------------------------ what replaces what


def refused(path: Path, kind: str) -> str:
    """Return the sentence that refuses to write this kind over the file, which must be left alone."""
    before = path.read_bytes()
    with pytest.raises(UsageError) as error:
        check_output(path, kind=kind)
    assert path.read_bytes() == before
    return str(error.value)


@pytest.mark.parametrize(("existing", "new"), [*product(sorted(DATA_KINDS), sorted(DATA_KINDS))])
def test_data_replaces_data_of_its_own_kind_only(samples: dict[str, Path], existing: str, new: str) -> None:
    path = samples[existing]
    if existing == new:
        check_output(path, kind=new)
    else:
        assert refused(path, new) == (
            f"{path} holds {existing} and would be overwritten by {new}: name another output with -o."
        )


@pytest.mark.parametrize("existing", sorted(DATA_KINDS))
def test_pictures_replace_no_data(samples: dict[str, Path], existing: str) -> None:
    path = samples[existing]
    assert refused(path, "picture") == (
        f"{path} holds {existing} and would be overwritten by a picture: name another output with -o."
    )


@pytest.mark.parametrize("new", DATA)
@pytest.mark.parametrize(("content", "existing"), OTHER.values(), ids=OTHER)
def test_data_replaces_nothing_foreign_or_damaged(
    tmp_path: Path, content: bytes, existing: str | None, new: str
) -> None:
    path = tmp_path / "thing"
    path.write_bytes(content)
    if not content:
        check_output(path, kind=new)  # the shell makes an empty file before an `encode > latents.h5` that fails
    elif existing is None:
        assert refused(path, new) == (
            f"{path} holds something other than {new} and would be overwritten: name another output with -o."
        )
    else:
        assert refused(path, new) == (
            f"{path} holds {existing} and would be overwritten by {new}: name another output with -o."
        )


@pytest.mark.parametrize(("content", "existing"), OTHER.values(), ids=OTHER)
def test_pictures_replace_anything_but_data(tmp_path: Path, content: bytes, existing: str | None) -> None:
    path = tmp_path / "thing"
    path.write_bytes(content)
    if existing is None:
        check_output(path)
        check_output(path, kind="picture")
    else:
        assert refused(path, "picture") == (
            f"{path} holds {existing} and would be overwritten by a picture: name another output with -o."
        )


@pytest.mark.parametrize("kind", [*DATA, "picture"])
def test_what_does_not_exist_is_free_for_every_kind(tmp_path: Path, kind: str) -> None:
    check_output(tmp_path / "new", kind=kind)
    assert list(tmp_path.iterdir()) == []


def latents_to(path: Path) -> None:
    from facevae import encode

    encode([Path("face.png")], path)


def coordinates_to(path: Path) -> None:
    from facevae import umap

    umap(output="map.png", coordinates=path)


def weights_to(path: Path) -> None:
    from facevae import train

    train(output=path)


def upscaler_to(path: Path) -> None:
    from facevae import train_upscaler

    train_upscaler(output=path)


def faces_to(path: Path) -> None:
    from facevae import prepare

    prepare("data", path)


@pytest.mark.parametrize(
    ("write", "new"),
    [
        (faces_to, "prepared faces"),
        (weights_to, "VAE weights"),
        (upscaler_to, "upscaler weights"),
        (latents_to, "latents"),
        (coordinates_to, "UMAP coordinates"),
    ],
)
def test_every_stage_names_the_kind_that_it_writes(
    samples: dict[str, Path],
    workspace: Path,
    weights_file: Path,
    write: Callable[[Path], None],
    new: str,
) -> None:
    """Over a training checkpoint, which no stage may be told to write to."""
    path = Path(shutil.copy(samples["a training checkpoint"], workspace / "kept.safetensors"))
    with pytest.raises(UsageError) as error:
        write(path)
    option = "--coordinates" if write is coordinates_to else "-o"
    assert str(error.value) == (
        f"{path} holds a training checkpoint and would be overwritten by {new}: name another output with {option}."
    )
    assert path.read_bytes() == samples["a training checkpoint"].read_bytes()


@pytest.mark.parametrize("end", ["x", "z0,x"])
def test_a_long_header_of_another_table_is_told_at_once(tmp_path: Path, end: str) -> None:
    """Of a search from each z0 this would take minutes."""
    path = tmp_path / "table.csv"
    path.write_text("name," + "z0," * 200_000 + end + "\n")
    assert kind_of(path) is None
