"""`encode --shard` and `merge`: the shards cover the faces, know what they are, and join to what one encode writes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import facevae
from facevae.config import ModelConfig
from facevae.errors import DataError, LostRankError, UsageError
from facevae.progress import Event
from facevae.storage.latents import Latents, LatentsWriter, Shard
from facevae.workflows.info import info
from facevae.workflows.shards import ShardNumber, join_together, parse_shard, shard_path
from helpers import files, put_other_weights, put_pictures, refusal, succeed
from support import Recorder, make_model, write_faces

COUNT = 200
"""Faces: three blocks of 64 and one of 8, so that shards begin and end within blocks."""
SHARD_ATTRIBUTES = {"shard", "shards", "first_row", "total"}


@pytest.fixture(scope="module")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_faces(folder / "faces.h5", count=COUNT, size=16)
    make_model(ModelConfig(image_size=16, channels=8, latent_dim=5)).save(folder / "vae.safetensors")
    return folder


@pytest.fixture
def prepared(workspace: Path, _template: Path) -> Path:
    """A workspace with `faces.h5` and `vae.safetensors`."""
    for path in _template.iterdir():
        shutil.copy(path, workspace)
    return workspace


def make_shards(shards: int, **options: Any) -> list[str]:
    names = [f"part.{number}-of-{shards}.h5" for number in range(1, shards + 1)]
    for number, name in enumerate(names, start=1):
        facevae.encode(output=name, shard=f"{number}/{shards}", **options)
    return names


def assert_equal_files(first: str, second: str) -> None:
    """In datasets, to the byte, and in root attributes."""
    with h5py.File(first) as one, h5py.File(second) as other:
        assert set(one) == set(other)
        for name in one:
            assert one[name].dtype == other[name].dtype
            assert one[name].shape == other[name].shape
            assert one[name][:].tobytes() == other[name][:].tobytes() if name != "names" else True
            assert one[name].chunks == other[name].chunks
        assert list(one["names"][:]) == list(other["names"][:])
        # The command lines differ, and the library has none.
        ones, others = (set(file.attrs) - {"command"} for file in (one, other))
        assert ones == others
        for name in ones:
            assert np.array_equal(one.attrs[name], other.attrs[name]), name


# ------------------------------------------------------------------------------------------ arithmetic


@given(total=st.integers(0, 10**9), shards=st.integers(1, 300))
def test_the_shards_cover_all_rows_once(total: int, shards: int) -> None:
    rows = [Shard(number, shards, total).rows for number in range(1, shards + 1)]
    assert rows[0].start == 0
    assert rows[-1].stop == total
    assert all(before.stop == after.start for before, after in pairwise(rows))
    sizes = {len(part) for part in rows}
    assert max(sizes) - min(sizes) <= 1


@given(shards=st.integers(1, 10**9), data=st.data())
def test_a_shard_is_read_as_written(shards: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(1, shards))
    assert parse_shard(f"{number}/{shards}") == (number, shards)
    assert parse_shard(f" {number} / {shards}\n") == (number, shards)


@pytest.mark.parametrize(
    "text", ["", "2", "2/", "/4", "a/b", "1.5/4", "-1/4", "1/2/3", "2of4", "1/1000000000000", "٢/٤"]
)
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_shard(text)
    assert str(error.value) == f"There is no shard {text}: use I/N for part I of N, such as 2/4."


@given(text=st.text(max_size=9))
def test_any_text_is_a_shard_or_wrong_usage(text: str) -> None:
    try:
        number = parse_shard(text)
    except UsageError:
        return
    assert 1 <= number.shard <= number.shards


@pytest.mark.parametrize("text", ["0/4", "5/4", "0/0", "1/0"])
def test_a_shard_out_of_range(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_shard(text)
    assert str(error.value) == f"There is no shard {text}: the first of N is 1/N and the last N/N, such as 1/4 and 4/4."


@pytest.mark.parametrize(
    ("output", "path"),
    [("latents.h5", "latents.2-of-4.h5"), ("a.b/all.latents.h5", "a.b/all.latents.2-of-4.h5"), ("z", "z.2-of-4")],
)
def test_the_file_of_a_shard(output: str, path: str) -> None:
    assert shard_path(Path(output), ShardNumber(2, 4)) == Path(path)


# ------------------------------------------------------------------------------------------ round trips


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_joined_shards_are_the_file_of_one_encode(prepared: Path, shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    facevae.encode(output="whole.h5")
    monkeypatch.setattr("facevae.workflows.encode._READ_BYTES", 64 * 3 * 16 * 16)
    monkeypatch.setattr("facevae.workflows.merge._COPIED_ROWS", 30)
    names = make_shards(shards)
    for number, name in enumerate(names, start=1):
        with Latents(name) as latents:
            assert latents.shard == Shard(number, shards, COUNT)
            assert latents.count == len(latents.shard.rows)
    shuffled = [*names[1::2], *names[::2]]
    result = facevae.merge(shuffled, "joined.h5")
    assert (result.output, result.count, result.latent_dim, result.shards) == (Path("joined.h5"), COUNT, 5, shards)
    assert_equal_files("joined.h5", "whole.h5")
    with h5py.File(names[0]) as shard, h5py.File("whole.h5") as whole:
        assert set(shard.attrs) - set(whole.attrs) == SHARD_ATTRIBUTES


def test_reading_in_slices_changes_nothing(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facevae.encode(output="whole.h5")
    monkeypatch.setattr("facevae.workflows.encode._READ_BYTES", 1)
    recorder = Recorder()
    facevae.encode(output="sliced.h5", report=recorder)
    assert [event.done for event in recorder.progress] == [64, 128, 192, 200]
    assert_equal_files("sliced.h5", "whole.h5")


def test_progress_is_that_of_the_shard(prepared: Path) -> None:
    recorder = Recorder()
    facevae.encode(output="a.h5", shard="2/3", report=recorder)
    assert [(event.stage, event.done, event.total) for event in recorder.progress] == [("encode", 67, 67)]
    recorder = Recorder()
    facevae.merge(make_shards(2), "z.h5", report=recorder)
    assert [(event.stage, event.done, event.total) for event in recorder.progress] == [
        ("merge", 100, 200),
        ("merge", 200, 200),
    ]


def test_a_report_that_raises_ends_the_encoding(prepared: Path) -> None:
    """And leaves PyTorch its threads, and no file."""
    import torch

    def report(event: Event) -> None:
        raise KeyboardInterrupt

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(KeyboardInterrupt) as interruption:
            facevae.encode(output="z.h5", report=report)
        assert torch.get_num_threads() == 3
        del interruption
    finally:
        torch.set_num_threads(before)
    assert files() == ["faces.h5", "vae.safetensors"]


@settings(max_examples=15)
@given(
    total=st.integers(0, 12),
    shards=st.integers(1, 5),
    with_split=st.booleans(),
    attributes=st.integers(0, 3),
    order=st.randoms(use_true_random=False),
)
def test_any_latents_survive_being_cut_and_joined(
    tmp_path_factory: pytest.TempPathFactory, total: int, shards: int, with_split: bool, attributes: int, order: Any
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    random = np.random.default_rng(total)
    mean, log_variance = random.normal(0, 1, (2, total, 3)).astype(np.float32)
    names = [f"gesicht {number} ä" for number in range(total)]
    split = random.integers(0, 3, total, dtype=np.uint8)
    table = random.choice(np.array([-1, 1], dtype=np.int8), (total, attributes))

    def write(name: str, shard: Shard | None) -> Path:
        rows = slice(shard.rows.start, shard.rows.stop) if shard else slice(None)
        with LatentsWriter(
            folder / name,
            latent_dim=3,
            attribute_names=[f"A{number}" for number in range(attributes)],
            with_split=with_split,
            weights_hash="w",
            faces_fingerprint="f",
            facevae_version="1",
            precision="bf16",
            shard=shard,
        ) as writer:
            columns = (split[rows] if with_split else None, table[rows] if attributes else None)
            writer.append(mean[rows], log_variance[rows], names[rows], *columns)
            writer.finish()
        return folder / name

    whole = write("whole.h5", None)
    parts = [write(f"{number}.h5", Shard(number, shards, total)) for number in range(1, shards + 1)]
    order.shuffle(parts)
    facevae.merge(parts, folder / "joined.h5")
    assert_equal_files(str(folder / "joined.h5"), str(whole))


def test_a_shard_is_latents_like_any_other(prepared: Path) -> None:
    facevae.encode(output="whole.h5")
    (name, _) = make_shards(2)
    with Latents(name) as part, Latents("whole.h5") as whole:
        np.testing.assert_array_equal(part.mean(), whole.mean()[:100])
        assert part.names == whole.names[:100]
        np.testing.assert_array_equal(part.attributes, whole.attributes[:100])  # type: ignore[index]
        assert (part.weights_hash, part.faces_fingerprint) == (whole.weights_hash, whole.faces_fingerprint)
    put_pictures(Path("faces"), 1, size=16)
    succeed("morph", "faces/face1.png", "--attr", "Smiling", "--latents", name)
    assert info(name).facts["part"] == "shard 1 of 2: faces 1 to 100 of 200"
    assert succeed("info", name, "--json").json["shard"] == {"shard": 1, "shards": 2, "total": 200}
    assert succeed("info", "whole.h5", "--json").json["shard"] is None


# ------------------------------------------------------------------------------------------ the commands


def test_the_commands(prepared: Path) -> None:
    for number in (1, 2):
        outcome = succeed("encode", "--shard", f"{number}/2", "-o", f"latents.{number}-of-2.h5")
        assert outcome.lines == [f"latents.{number}-of-2.h5"]
        assert outcome.stderr == "100 latents of 5 dimensions.\n"
    Path("piped.h5").write_bytes(succeed("encode", "--shard", "2/2").stdout)
    assert_equal_files("piped.h5", "latents.2-of-2.h5")
    outcome = succeed("merge", "latents.2-of-2.h5", "latents.1-of-2.h5")
    assert outcome.lines == ["latents.h5"]
    assert outcome.stderr == "200 latents of 5 dimensions, from 2 shards.\n"
    facevae.encode(output="whole.h5")
    assert_equal_files("latents.h5", "whole.h5")
    outcome = succeed("merge", "latents.2-of-2.h5", "latents.1-of-2.h5", "-o", "-", "-q")
    assert outcome.stderr == ""
    Path("streamed.h5").write_bytes(outcome.stdout)
    assert_equal_files("streamed.h5", "whole.h5")
    found = succeed("merge", "latents.2-of-2.h5", "latents.1-of-2.h5", "--json", "-o", "again.h5").json
    assert found == {"paths": ["again.h5"], "latents": 200, "latent_dim": 5, "shards": 2}


def test_what_encode_refuses(prepared: Path) -> None:
    picture = put_pictures(Path("faces"), 1, size=16)[0]
    assert refusal("encode", "--shard", "3/2", code=2) == (
        "There is no shard 3/2: the first of N is 1/N and the last N/N, such as 1/4 and 4/4."
    )
    assert refusal("encode", "--shard", "half", code=2) == (
        "There is no shard half: use I/N for part I of N, such as 2/4."
    )
    assert refusal("encode", picture, "--shard", "1/2", "-o", "z.h5", code=2) == (
        "--shard divides the faces of faces.h5, not images: leave it out, or leave the images out."
    )
    assert refusal("encode", "--shard", "1/201", "-o", "z.h5", code=2) == (
        "faces.h5 holds 200 faces, too few for 201 shards: use fewer."
    )
    assert refusal("encode", "--precision", "fp16", "-o", "z.h5", code=2) == (
        "There is no precision fp16: use one of auto, fp32, bf16."
    )
    assert not Path("z.h5").exists()


def test_what_merge_refuses(prepared: Path) -> None:
    first, second, third = make_shards(3)
    facevae.encode(output="whole.h5")
    before = files()
    missing = "is missing: name all of them, or make the missing with facevae encode --shard"
    assert refusal("merge", first, third) == f"Shard 2 of 3 {missing} 2/3."
    assert refusal("merge", third) == f"Shards 1, 2 of 3 {missing.replace('is', 'are', 1)} 1/3."
    assert refusal("merge", first, second, third, second, code=2) == (
        f"{second} and {second} are both shard 2 of 3: name each shard once."
    )
    assert refusal("merge", first, "whole.h5") == (
        "whole.h5 is no shard: name the files that facevae encode --shard wrote."
    )
    assert refusal("merge", first, "faces.h5") == (
        "faces.h5 holds prepared faces, not latents. Make one with: facevae encode > latents.h5"
    )
    assert refusal("merge", first, "none.h5") == "There is no none.h5. Make one with: facevae encode > latents.h5"
    assert refusal("merge", first, second, third, "-o", second, code=2) == (
        f"{second} is an input and would be overwritten: name another output with -o."
    )
    assert refusal("merge", first, second, third, "-o", "faces.h5", code=2) == (
        "faces.h5 holds prepared faces and would be overwritten by latents: name another output with -o."
    )
    assert refusal("merge", first, "-o", "-", code=2, terminal="stdout") == (
        "Standard output is a terminal and the result is binary: "
        "redirect it (facevae merge ... -o - > latents.h5) or name a file with -o FILE."
    )
    assert files() == before
    with pytest.raises(UsageError) as error:
        facevae.merge([])
    assert str(error.value) == "There is no shard to join: name the files that facevae encode --shard wrote."


def test_many_missing_shards_are_named_in_short(prepared: Path) -> None:
    facevae.encode(output="a.h5", shard="1/40")
    assert refusal("merge", "a.h5") == (
        "Shards 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ... of 40 are missing: name all of them, or make the missing with "
        "facevae encode --shard 2/40."
    )


def test_shards_that_do_not_belong_together(prepared: Path) -> None:
    first, _ = make_shards(2)
    put_other_weights(Path("other.safetensors"), size=16)
    write_faces(Path("other-faces.h5"), count=COUNT, size=16, seed=1)
    write_faces(Path("more-faces.h5"), count=COUNT + 1, size=16)
    options: dict[str, tuple[dict[str, Any], str]] = {
        "weights": ({"weights": "other.safetensors"}, "they were made by different weights"),
        "faces": ({"faces": "other-faces.h5"}, "they are of different faces"),
        "precision": ({"precision": "bf16"}, "they were encoded with different --precision"),
        "total": ({"faces": "more-faces.h5"}, "they are shard 1 of 2 (200 faces) and shard 2 of 2 (201 faces)"),
        "number": ({"shard": "2/3"}, "they are shard 1 of 2 (200 faces) and shard 2 of 3 (200 faces)"),
    }
    for name, (changed, reason) in options.items():
        facevae.encode(output=f"of-{name}.h5", **{"shard": "2/2", **changed})
        assert refusal("merge", first, f"of-{name}.h5") == f"{first} and of-{name}.h5 do not belong together: {reason}."
    facevae.encode(output="version.h5", shard="2/2")
    with h5py.File("version.h5", "r+") as file:
        file.attrs["facevae_version"] = "0.0"
    assert refusal("merge", first, "version.h5") == (
        f"{first} and version.h5 do not belong together: they were made by different versions of facevae."
    )
    assert not Path("latents.h5").exists()


@pytest.mark.parametrize(("name", "value"), [("first_row", 3), ("total", 300), ("shard", 9), ("shard", 1)])
def test_a_shard_whose_rows_are_others(prepared: Path, name: str, value: int) -> None:
    facevae.encode(output="a.h5", shard="2/3")
    with h5py.File("a.h5", "r+") as file:
        file.attrs[name] = value
    with pytest.raises(DataError) as error:
        Latents("a.h5")
    number, total = {"shard": (value, 200), "total": (2, value)}.get(name, (2, 200))
    assert str(error.value) == (
        f"a.h5 is damaged (its 67 rows are not those of shard {number} of 3 of {total} faces). "
        "Make one with: facevae encode > latents.h5"
    )


def test_a_shard_of_ever_so_many(prepared: Path) -> None:
    """Those that are missing are not counted one by one."""
    facevae.encode(output="a.h5", shard="1/2")
    with h5py.File("a.h5", "r+") as file:
        file.attrs["shards"], file.attrs["total"] = 2**40, 100 * 2**40
    assert refusal("merge", "a.h5") == (
        f"Shards 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ... of {2**40} are missing: name all of them, or make the missing with "
        f"facevae encode --shard 2/{2**40}."
    )


def test_damaged_latents_are_not_joined(prepared: Path) -> None:
    first, second = make_shards(2)
    with h5py.File(second, "r+") as file:
        file["mean"][17, 2] = np.nan
    assert refusal("merge", first, second) == (
        f"{second} is damaged (mean holds values that are not finite). Make one with: facevae encode > latents.h5"
    )
    assert not Path("latents.h5").exists()


# ------------------------------------------------------------------------------------------ precision


def test_the_precision_is_recorded(prepared: Path) -> None:
    for precision in ("fp32", "bf16"):
        succeed("encode", "--precision", precision, "-o", f"{precision}.h5")
        assert succeed("info", f"{precision}.h5", "--json").json["precision"] == precision
    with Latents("fp32.h5") as exact, Latents("bf16.h5") as rough:
        assert (exact.precision, rough.precision) == ("fp32", "bf16")
        assert exact.weights_hash == rough.weights_hash
        difference = np.abs(exact.mean() - rough.mean())
        assert 0 < difference.mean() < 0.05 * exact.mean().std()
    succeed("encode", "-o", "default.h5")
    assert_equal_files("default.h5", "fp32.h5")


def test_latents_of_before_precisions_were_recorded(prepared: Path) -> None:
    facevae.encode()
    with h5py.File("latents.h5", "r+") as file:
        del file.attrs["precision"]
    with Latents("latents.h5") as latents:
        assert latents.precision == "fp32"
        assert latents.shard is None


# ------------------------------------------------------------------------------------------ several processes


@pytest.fixture
def _second_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_second_of_three")
def test_what_several_processes_cannot_do(prepared: Path) -> None:
    picture = put_pictures(Path("faces"), 1, size=16)[0]
    before = files()
    assert refusal("encode", code=2) == (
        "Several processes cannot write to one stream: name a file with -o FILE, such as -o latents.h5."
    )
    assert refusal("encode", "-o", "z.h5", "--shard", "1/2", code=2) == (
        "torchrun has started the processes already, each for its own shard: leave --shard out."
    )
    assert refusal("encode", picture, "-o", "z.h5", code=2) == (
        "Several processes divide the faces of faces.h5, not images: encode images without torchrun."
    )
    assert files() == before


@pytest.mark.usefixtures("_second_of_three")
def test_a_rank_that_is_left_alone_keeps_its_shard(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def alone(*_: Any, **__: Any) -> Any:
        raise LostRankError("The processes could not meet (nobody came).")

    monkeypatch.setattr("facevae.workflows.shards.joined", alone)
    assert refusal("encode", "-o", "z.h5") == (
        "The processes could not meet (nobody came). Encode the shards that are missing with --shard, and join them with: "
        "facevae merge z.1-of-3.h5 ... -o z.h5"
    )
    with Latents("z.2-of-3.h5") as latents:
        assert latents.shard == Shard(2, 3, COUNT)


def test_shards_that_another_machine_keeps(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    monkeypatch.setattr("facevae.workflows.shards.joined", lambda *_, **__: nullcontext())
    make_shards(2)
    Path("part.2-of-2.h5").unlink()
    with pytest.raises(DataError) as error:
        join_together(Path("part.h5"), 2, Recorder())
    assert str(error.value) == (
        "part.2-of-2.h5 is not here, as where machines have folders of their own. Bring the shards together, and join "
        "them with: facevae merge part.1-of-2.h5 ... -o part.h5"
    )
    assert Path("part.1-of-2.h5").exists()


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "facevae"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, env=environment)


@pytest.mark.slow
def test_two_processes_of_torchrun_write_the_file_of_one(prepared: Path) -> None:
    facevae.encode(output="whole.h5")
    before = files()
    done = torchrun("encode", "-o", "latents.h5", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "latents.h5\n"
    assert done.stderr.count("200 latents of 5 dimensions.\n") == 1
    assert files() == sorted([*before, "latents.h5"])
    assert_equal_files("latents.h5", "whole.h5")
