"""Every reader of facevae, as targets of the fuzz tests: valid files, and how they are read in full."""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import features

import support
from facevae.errors import DataError, FacevaeError
from fuzzing import FaultError, Target, check_refusal, mutate_safetensors
from fuzzing_formats import (
    encoded,
    exif,
    mutate_journal,
    mutate_jpeg,
    mutate_png,
    mutate_table,
    mutate_tiff,
    mutate_zip,
    picture,
)
from fuzzing_hdf5 import mutate_hdf5, put_secret

if TYPE_CHECKING:
    from facevae.storage.weights import FaceModel

COUNT, SIZE = 12, 16


def each_of(path: Path, *calls: Callable[[], Any]) -> None:
    """Call all of them, holding each that refuses to what a refusal must be; raise the last refusal."""
    refused = None
    for call in calls:
        try:
            call()
        except FacevaeError as error:
            check_refusal(error, path)
            refused = error
    if refused is not None:
        raise refused


def tolerated(path: Path, *calls: Callable[[], Any]) -> None:
    """Call all of them; each may refuse, as a refusal must be, without the file counting as refused."""
    for call in calls:
        with suppress(FacevaeError):
            each_of(path, call)


def described(path: Path) -> None:
    """Describe a file as `facevae info` does, and raise its refusal; for some, run the very command.

    Which, is a matter of the file, so that a fault comes again.
    """
    from facevae.workflows.info import info
    from helpers import run

    check = zlib.crc32(path.read_bytes()) % 32
    if check > 1:
        info(path)
        return
    options = ["--json"] if check else []
    outcome = run("info", path, *options)
    if outcome.code == 0 and outcome.stdout and not outcome.stderr:
        return
    text = outcome.stderr.removeprefix("Error: ").removesuffix("\n")
    if outcome.code != 1 or outcome.stdout or text == outcome.stderr:
        raise FaultError(f"info ends with {outcome.code}: {outcome.stderr!r:.300}")
    raise DataError(text)


# ------------------------------------------------------------------------------------------------------------ images


def read_image(path: Path) -> None:
    from facevae.storage.images import load_face, open_image, picture_size, smaller_side
    from facevae.storage.photograph import Photograph

    data = path.read_bytes()
    each_of(
        path,
        lambda: picture_size(path),
        lambda: smaller_side(data, path.name),
        lambda: load_face(data, 8, path.name),
        lambda: open_image(path, enlarged=3),
        lambda: Photograph.load(path).shown,
    )


def jpegs(folder: Path) -> list[bytes]:
    return [
        encoded("JPEG"),
        encoded("JPEG", "L"),
        encoded("JPEG", "CMYK"),
        encoded("JPEG", progressive=True, exif=exif()),
        encoded(
            "JPEG", icc_profile=b"\0" * 16 + b"RGB " + b"\0" * 16 + b"acsp" + bytes(100), dpi=(72, 72), comment=b"x"
        ),
    ]


def pngs(folder: Path) -> list[bytes]:
    seeds = [encoded("PNG", mode) for mode in ("RGB", "RGBA", "L", "P", "1", "I;16", "LA")]
    animated = io.BytesIO()
    picture().save(animated, "PNG", save_all=True, append_images=[picture("RGB").rotate(90)], exif=exif())
    return [*seeds, animated.getvalue(), encoded("PNG", "P", transparency=3)]


def gifs(folder: Path) -> list[bytes]:
    animated = io.BytesIO()
    picture("P").save(animated, "GIF", save_all=True, append_images=[picture("P").rotate(90)], comment=b"x" * 300)
    return [encoded("GIF", "P"), encoded("GIF", "L"), encoded("GIF", "P", transparency=3), animated.getvalue()]


def bmps(folder: Path) -> list[bytes]:
    # Packed by runs, 8 bits a pixel: Pillow reads this, but does not write it.
    plain = encoded("BMP", "P")
    packed = bytearray(plain[: int.from_bytes(plain[10:14], "little")])
    packed[30:34] = (1).to_bytes(4, "little")
    rows = b"".join(b"\x14\7\0\4" + bytes(range(4)) + b"\0\0" for _ in range(23)) + b"\0\2\1\1\0\1"
    return [*(encoded("BMP", mode) for mode in ("RGB", "L", "1", "P")), bytes(packed) + rows]


def tiffs(folder: Path) -> list[bytes]:
    packings = ("raw", "tiff_lzw", "packbits", "tiff_deflate", "jpeg", "group4")
    seeds = [encoded("TIFF", "1" if way == "group4" else "RGB", compression=way) for way in packings]
    return [*seeds, encoded("TIFF", "I;16"), encoded("TIFF", "F"), encoded("TIFF", "RGBA", exif=exif(), big_tiff=True)]


def webps(folder: Path) -> list[bytes]:
    return [
        encoded("WEBP"),
        encoded("WEBP", "RGBA", lossless=True),
        encoded("WEBP", exif=exif(), icc_profile=bytes(200)),
    ]


def pnms(folder: Path) -> list[bytes]:
    plain = b"P3\n# comment\n4 4\n255\n" + b" ".join(b"%d" % (5 * value) for value in range(48))
    sixteen = b"P5 8 8 65535\n" + bytes(range(128))
    return [
        *(encoded("PPM", mode) for mode in ("RGB", "L", "1")),
        plain,
        sixteen,
        b"P6 4 4 100\n" + bytes(range(48)),
        b"P1 4 2\n01010101",
    ]


def heics(folder: Path) -> list[bytes]:
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(picture()).save(buffer, quality=60, exif=exif())
    return [buffer.getvalue()]


def avifs(folder: Path) -> list[bytes]:
    return [encoded("AVIF", quality=50, speed=10), encoded("AVIF", "RGBA", quality=50, speed=10, exif=exif())]


# ------------------------------------------------------------------------------------------------ archives and tables

FACE_NAMES = [f"{number:06d}.jpg" for number in range(1, 5)]


def archives(folder: Path) -> list[bytes]:
    seeds = []
    for prefix in ("", "img_align_celeba/", "a/b/"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED if prefix else zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("__MACOSX/._000001.jpg", b"rubbish")
            for name in FACE_NAMES:
                archive.writestr((prefix if name != FACE_NAMES[0] else prefix and "c/") + name, encoded("JPEG"))
        seeds.append(buffer.getvalue())
    return seeds


def read_archive(path: Path) -> None:
    """Do what `prepare` does with an archive: list it, and decode each member or leave it out."""
    from facevae.storage.celeba import digest_of, find_faces
    from facevae.storage.images import load_face_bytes, smaller_side

    source = find_faces(path, with_attributes=False)
    with source.open() as reader:
        digest_of(reader, source.names)
        for name in source.names:
            name.encode()
            with suppress(DataError):
                data = _checked(partial(reader.read, name), path, name)
                _checked(partial(smaller_side, data, name), path, name)
                _checked(partial(load_face_bytes, data, 8, name), path, name)


def _checked(call: Callable[[], Any], path: Path, name: str) -> Any:
    """Call something that may refuse a member by its name, or by that of the archive."""
    try:
        return call()
    except DataError as error:
        if path.name not in str(error):
            check_refusal(DataError(f"{path.name}: {str(error).replace(name, 'member')}"), path)
        else:
            check_refusal(error, path)
        raise


def attribute_tables(folder: Path) -> list[bytes]:
    rows = [
        (name, *("1" if (row + column) % 2 else "-1" for column in range(3))) for row, name in enumerate(FACE_NAMES)
    ]
    plain = "4\r\nBald Male Smiling\r\n" + "".join("  ".join(row) + "\r\n" for row in rows)
    table = "image_id,Bald,Male,Smiling\n" + "".join(",".join(row) + "\n" for row in rows)
    return [
        plain.encode(),
        plain[3:].encode("utf-8-sig"),
        table.replace("-1", "0").encode(),
        table.replace("Bald", '"Bald"').encode(),
    ]


def partitions(folder: Path) -> list[bytes]:
    plain = "".join(f"{name} {row % 3}\n" for row, name in enumerate(FACE_NAMES))
    return [plain.encode(), b"4\n" + plain.encode(), b"image_id,partition\n" + plain.replace(" ", ",").encode()]


def read_table(read: Callable[[Path], Any], path: Path) -> None:
    from facevae.storage.celeba import find_faces

    for name in FACE_NAMES:
        if not (path.parent / name).exists():
            (path.parent / name).write_bytes(encoded("JPEG"))
    for name, seeds in (("list_attr_celeba.txt", attribute_tables), ("list_eval_partition.txt", partitions)):
        if not (path.parent / name).exists():
            (path.parent / name).write_bytes(seeds(path.parent)[0])
    each_of(path, lambda: read(path), lambda: _named(path, lambda: find_faces(path.parent)))


def _named(path: Path, call: Callable[[], Any]) -> None:
    """Call what may refuse the folder for what a table in it says."""
    try:
        call()
    except DataError as error:
        raise DataError(str(error) if path.name in str(error) else f"{path.name}: {error}") from error


def _read_attributes(path: Path) -> None:
    from facevae.storage.celeba_tables import read_attribute_table

    read_table(read_attribute_table, path)


def _read_partition(path: Path) -> None:
    from facevae.storage.celeba_tables import read_partition

    read_table(read_partition, path)


# -------------------------------------------------------------------------------------------------------------- HDF5


@cache
def small_model() -> FaceModel:
    from facevae.config import ModelConfig

    return support.make_model(ModelConfig(image_size=SIZE, channels=2, latent_dim=3))


def faces_files(folder: Path) -> list[bytes]:
    with_attributes = support.write_faces(folder / "faces.h5", count=COUNT, size=SIZE)
    without = support.write_faces(folder / "plain.h5", count=COUNT, size=SIZE, attributes=False)
    return [with_attributes.read_bytes(), without.read_bytes()]


def read_faces(path: Path) -> None:
    from facevae.storage.dataset import FacesDataset
    from facevae.storage.faces import Faces

    _put_secret_beside(path)

    def read() -> None:
        with Faces(path) as faces:
            for rows, images in faces.batches(5):
                assert images.shape == (rows.stop - rows.start, faces.image_size, faces.image_size, 3)
            _read_columns(faces)
            for split in ("train", "valid", "test", "all"):
                with suppress(DataError):
                    faces.images_of(split)
            _forbid_secrets(faces.names)

    each_of(path, read, lambda: len(FacesDataset(path, "all")), lambda: described(path))


def _read_columns(opened: Any) -> None:
    for start in range(0, min(opened.count, 10_000), 5):
        columns = opened.columns(start, min(start + 5, opened.count))
        assert len(columns.names) == min(start + 5, opened.count) - start
    whole = opened.names, opened.split, opened.attributes
    assert all(len(column) == opened.count for column in whole if column is not None)


def _forbid_secrets(names: Sequence[str]) -> None:
    if any(name.startswith("secret") for name in names):
        raise FaultError("it follows a link out of the file")


def _put_secret_beside(path: Path) -> None:
    if not (path.parent / "secret.bin").exists():
        put_secret(path.parent)


def latents_files(folder: Path) -> list[bytes]:
    from facevae.storage.latents import Latents, LatentsWriter, Shard

    faces = support.write_faces(folder / "faces.h5", count=COUNT, size=SIZE)
    whole = support.write_latents(folder / "latents.h5", small_model(), faces)
    parts = []
    with Latents(whole) as opened:
        for number in (1, 2):
            shard = Shard(number, 2, COUNT)
            rows = slice(shard.rows.start, shard.rows.stop)
            with LatentsWriter(
                folder / f"shard{number}.h5",
                latent_dim=opened.latent_dim,
                attribute_names=opened.attribute_names,
                with_split=True,
                weights_hash=opened.weights_hash,
                faces_fingerprint=opened.faces_fingerprint,
                facevae_version="0",
                shard=shard,
            ) as writer:
                columns = opened.columns(rows.start, rows.stop)
                writer.append(opened.mean(rows.start, rows.stop), opened.log_variance(rows.start, rows.stop), *columns)
                writer.finish()
            parts.append((folder / f"shard{number}.h5").read_bytes())
    return [whole.read_bytes(), *parts]


def read_latents(path: Path) -> None:
    """Read them, join them to the other shard, and describe them."""
    from facevae.storage.latents import Latents
    from facevae.workflows.merge import merge

    _put_secret_beside(path)
    other = path.parent / "other-shard.h5"
    if not other.exists():
        made = path.parent / "made"
        made.mkdir()
        other.write_bytes(latents_files(made)[2])
        shutil.rmtree(made)

    def read() -> None:
        with Latents(path) as latents:
            mean, log_variance = latents.mean(), latents.log_variance()
            assert mean.shape == log_variance.shape == (latents.count, latents.latent_dim)
            assert mean.dtype == log_variance.dtype == np.float32
            _read_columns(latents)
            _forbid_secrets(latents.names)
            if mean.size and (mean == 1).all():
                raise FaultError("it follows a link out of the file")

    tolerated(path, lambda: merge([path, other], path.parent / "merged.h5"))
    each_of(path, read, lambda: described(path))


def coordinates_files(folder: Path) -> list[bytes]:
    from facevae.storage.coordinates import write_coordinates
    from facevae.storage.latents import Latents

    faces = support.write_faces(folder / "faces.h5", count=COUNT, size=SIZE)
    path = support.write_latents(folder / "latents.h5", small_model(), faces)
    settings: dict[str, float | int | str] = {"n_neighbors": 5, "min_dist": 0.1, "seed": 3, "placed_on": ""}
    dots = np.random.default_rng(0).normal(0, 1, (COUNT, 2)).astype(np.float32)
    with Latents(path) as latents:
        write_coordinates(folder / "map.h5", dots, np.arange(COUNT), latents, settings, mean=latents.mean())
        fitted = (folder / "map.h5").read_bytes()
    return [fitted]


def read_coordinates(path: Path) -> None:
    """Place latents on the map, and describe it."""
    from facevae.storage.coordinates import FittedMap
    from facevae.workflows.umap_place import place

    _put_secret_beside(path)

    def read() -> None:
        with FittedMap(path) as fitted:
            fitted.fingerprint()
            mean = fitted.mean()
            assert mean.shape == (fitted.count, fitted.latent_dim)
            place(mean[:3], mean, fitted.coordinates, fitted.n_neighbors)
            if mean.size and ((fitted.coordinates == 1).all() or (mean == 1).all()):
                raise FaultError("it follows a link out of the file")

    each_of(path, read, lambda: described(path))


# ------------------------------------------------------------------------------------------------------- safetensors


def weights_files(folder: Path) -> list[bytes]:
    from dataclasses import replace

    from facevae.model.latent_space import AttributeDirections
    from facevae.model.prior import LatentPrior

    model = small_model()
    trils = np.tile(np.eye(3, dtype=np.float32), (2, 1, 1))
    prior = LatentPrior(np.array([0.25, 0.75]), np.zeros((2, 3), np.float32), trils)
    loss = {"loss": 1.0, "reconstruction": 0.5, "kl": 0.5, "mse": 0.1}
    training = {"seed": 0, "recipe": "detail", "losses": {"train": loss, "valid": loss}, "versions": {"torch": "2"}}
    assert model.directions is not None
    deltas, count = model.directions.deltas, len(model.directions.deltas)
    together = np.minimum.outer(model.directions.positive, model.directions.positive)
    np.fill_diagonal(together, model.directions.positive)
    directions = AttributeDirections(deltas, model.directions.positive, 40 - model.directions.positive, together)
    assert count
    seeds = []
    for number, (one, half) in enumerate(
        (
            (model, False),
            (replace(model, prior=prior, training=training, directions=directions), False),
            (replace(model, prior=prior), True),
        )
    ):
        one.save(folder / f"{number}.safetensors", half=half)
        seeds.append((folder / f"{number}.safetensors").read_bytes())
    return seeds


def read_weights(path: Path) -> None:
    """Load them, encode, decode and sample, take every direction, and describe them."""
    from facevae.storage.weights import FaceModel

    def read() -> None:
        model = FaceModel.load(path)
        size = model.image_size
        if size <= 64:
            model.encode(np.zeros((1, size, size, 3), np.uint8))
            model.decode(np.zeros((1, model.latent_dim), np.float32))
            model.sample(1, seed=0)
        named = model.named_directions()
        named.correlations()
        for attribute in model.attribute_names[:6]:
            for kind in ("mean", "regression", "logistic"):
                tolerated(path, partial(named.direction, attribute, (), kind))

    each_of(path, read, lambda: described(path))


def checkpoint_files(folder: Path) -> list[bytes]:
    import torch

    from facevae.config import ModelConfig, TrainConfig
    from facevae.model.training import Trainer, new_vae
    from facevae.storage.checkpoint import BestNetwork, save_checkpoint
    from facevae.storage.history import HistoryPoint

    seeds = []
    images = torch.from_numpy(support.random_images(6, SIZE))
    for number, optimizer in enumerate(("adam", "muon")):
        config = TrainConfig(batch_size=3, precision="fp32", optimizer=optimizer)  # type: ignore[arg-type]
        trainer = Trainer(new_vae(ModelConfig(image_size=SIZE, channels=2, latent_dim=3), 0), images, config)
        trainer.advance()
        history = [
            HistoryPoint(0.5, "train", 1.0, 0.7, 0.3, 0.1, 12.0, 3),
            HistoryPoint(1.0, "valid", 1.0, 0.7, 0.3, 0.1, 0.0),
        ]
        best = BestNetwork(1, {name: value.clone() for name, value in trainer.vae.state_dict().items()})
        path = folder / f"{number}.safetensors"
        save_checkpoint(
            path, trainer, seconds=2.5, faces_fingerprint="prints", history=history, best=best if number else None
        )
        seeds.append(path.read_bytes())
    return seeds


def read_checkpoint(path: Path) -> None:
    """Do what a resumed training does with a checkpoint, and describe it."""
    import torch

    from facevae.model.training import Trainer
    from facevae.model.vae import VAE
    from facevae.storage.checkpoint import load_checkpoint
    from facevae.storage.history import write_history
    from facevae.workflows.patience import best_valid, is_stalled

    def read() -> None:
        checkpoint = load_checkpoint(path)
        if checkpoint.model.image_size > 64:
            return
        vae = VAE(checkpoint.model)
        checkpoint.restore_network(vae)
        images = torch.zeros((6, checkpoint.model.image_size, checkpoint.model.image_size, 3), dtype=torch.uint8)
        trainer = Trainer(vae, images, checkpoint.train)
        checkpoint.restore_optimizer(trainer)
        checkpoint.restore_best(vae)
        is_stalled(checkpoint.history, checkpoint.train.patience)
        best_valid(checkpoint.history)
        if checkpoint.history:
            write_history(path.parent / "history.csv", checkpoint.history)

    each_of(path, read, lambda: described(path))


def upscaler_files(folder: Path) -> list[bytes]:
    from dataclasses import replace

    from helpers import tiny_upscaler

    training = {
        "inputs": "photographs",
        "valid": {"gain": 1.0, "psnr": 30.0, "faces": 3},
        "versions": {"torch": "2"},
        "x": [1, 2],
    }
    seeds = []
    for number, half in enumerate((False, True)):
        replace(tiny_upscaler(), training=training).save(folder / f"{number}.safetensors", half=half)
        seeds.append((folder / f"{number}.safetensors").read_bytes())
    return seeds


def read_upscaler(path: Path) -> None:
    from facevae.storage.upscaler_file import Upscaler

    each_of(
        path,
        lambda: Upscaler.load(path).upscale(np.zeros((1, 4, 4, 3), np.uint8), 2, precision="fp32"),
        lambda: described(path),
    )


def upscaler_checkpoint_files(folder: Path) -> list[bytes]:
    import torch

    from facevae.config import UpscalerConfig, UpscalerTrainConfig
    from facevae.model.upscaler_training import PhotographPairs, UpscalerTrainer, new_upscaler
    from facevae.storage.history import UpscalerPoint
    from facevae.storage.upscaler_checkpoint import save_upscaler_checkpoint

    config = UpscalerTrainConfig(batch_size=5, patch_size=12, factors=(2, 4), precision="fp32")
    pairs = PhotographPairs(torch.from_numpy(support.random_images(12, 16)))
    trainer = UpscalerTrainer(new_upscaler(UpscalerConfig(3, 4), 1), pairs, config)
    trainer.advance()
    history = [UpscalerPoint(0.5, "train", 0.001, 30.0, 0.25, 99.5), UpscalerPoint(1.0, "valid", 0.002, 27.0, -0.5)]
    path = folder / "upscaler.checkpoint.safetensors"
    save_upscaler_checkpoint(path, trainer, seconds=1.0, faces_fingerprint="prints", vae=None, history=history)
    return [path.read_bytes()]


def read_upscaler_checkpoint(path: Path) -> None:
    import torch

    from facevae.model.upscaler_training import PhotographPairs, UpscalerTrainer
    from facevae.model.vdsr import VDSR
    from facevae.storage.history import write_history
    from facevae.storage.upscaler_checkpoint import load_upscaler_checkpoint

    def read() -> None:
        checkpoint = load_upscaler_checkpoint(path)
        network = VDSR(checkpoint.network)
        checkpoint.restore_network(network)
        pairs = PhotographPairs(torch.zeros((4, 16, 16, 3), dtype=torch.uint8))
        if checkpoint.train.patch_size <= 16 and checkpoint.train.inputs == "photographs":
            checkpoint.restore_optimizer(UpscalerTrainer(network, pairs, checkpoint.train))
        if checkpoint.history:
            write_history(path.parent / "history.csv", checkpoint.history)

    each_of(path, read, lambda: described(path))


def judge_files(folder: Path) -> list[bytes]:
    import torch

    from facevae.model.judge import Judge
    from facevae.storage.judge_file import AttributeJudge

    torch.manual_seed(0)
    AttributeJudge(Judge(3, (4, 4, 4, 4)).eval(), ("Bald", "Male", "Smiling"), {"seed": 1}).save(
        folder / "judge.safetensors"
    )
    return [(folder / "judge.safetensors").read_bytes()]


def read_judge(path: Path) -> None:
    from facevae.storage.judge_file import AttributeJudge

    tolerated(path, lambda: described(path))
    AttributeJudge.load(path).look(np.zeros((1, 32, 32, 3), np.uint8))


def frame_files(folder: Path) -> list[bytes]:
    import torch

    from facevae.model.frame_network import FrameNetwork
    from facevae.storage.frame_weights import save_frame_network

    torch.manual_seed(0)
    save_frame_network(folder / "frame.safetensors", FrameNetwork((2, 2, 2)), {"seed": 1})
    return [(folder / "frame.safetensors").read_bytes()]


def read_frame(path: Path) -> None:
    from facevae.storage.frame_weights import load_frame_network

    load_frame_network(path)


# ------------------------------------------------------------------------------------------------------ everything else

JOURNAL_SIZE = 4
JOURNAL_RECORD = {"image_size": JOURNAL_SIZE}


def journal_digest(start: int, stop: int) -> bytes:
    return hashlib.sha256(b"any").digest()


def journals(folder: Path) -> list[bytes]:
    from facevae.storage.journal import Journal, Prepared, journal_path

    random = np.random.default_rng(0)
    with Journal(folder / "faces.h5") as journal:
        journal.begin(JOURNAL_RECORD, JOURNAL_SIZE)
        for skipped, too_small in (([(1, "damaged")], []), ([], [0, 3]), ([], [])):
            images = random.integers(1, 256, (4 - len(skipped) - len(too_small), 4, 4, 3), dtype=np.uint8)
            journal.append(Prepared(4, skipped, images, journal_digest(0, 4), too_small))
    return [journal_path(folder / "faces.h5").read_bytes()]


def read_journal(path: Path) -> None:
    """Go on with it as `prepare` does."""
    from facevae.storage.journal import Journal

    with Journal(path.with_suffix("")) as journal:
        if journal.resume(JOURNAL_RECORD, JOURNAL_SIZE, journal_digest):
            found = sum(len(images) for images in journal.images(3))
            left_out = [place for place, reason in journal.skipped if isinstance(reason, str)] + journal.too_small
            assert found == journal.faces == journal.rows - len(left_out)
            assert len(np.delete(np.arange(journal.rows), left_out)) == found
        else:
            journal.begin(JOURNAL_RECORD, JOURNAL_SIZE)


def run_logs(folder: Path) -> list[bytes]:
    return [b'{"event": "start", "time": "2026-01-01", "seed": 0}\n{"event": "epoch", "loss": 1.0}\n']


def read_run_log(path: Path) -> None:
    from facevae.storage.run_log import RunLog, check_run_log

    check_run_log(path)
    log = RunLog(path)
    log.write("end", {"loss": float("nan")})
    log.close()


def any_files(folder: Path) -> list[bytes]:
    seeds = []
    for number, make in enumerate((faces_files, weights_files, upscaler_files, judge_files, pngs, run_logs)):
        inner = folder / str(number)
        inner.mkdir()
        seeds.append(make(inner)[0])
    return seeds


def read_any(path: Path) -> None:
    """Ask what kind a file is, as before it is replaced, and describe it."""
    from facevae.storage.kinds import DATA_KINDS, kind_of

    assert kind_of(path) in {None, *DATA_KINDS}
    each_of(path, lambda: described(path))


def read_attribute_names(path: Path) -> None:
    """Read them as the completion of a shell does, which must never fail."""
    from facevae.storage.hdf5_header import root_strings

    assert all(isinstance(name, str) for name in root_strings(path, "attribute_names"))


def detector_files(folder: Path) -> list[bytes]:
    from facevae.storage.detector_weights import _weights_folder

    return [(_weights_folder() / "pnet.lz4").read_bytes()]


def read_detector(path: Path) -> None:
    """Of these files, nothing is read before their SHA-256 is known."""
    from facevae.storage.detector_weights import _decompressed

    _decompressed(path)


def _installed(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def all_targets() -> dict[str, Target]:
    """Return the targets by name; without those whose reader is not installed here."""
    large = 3 << 30  # an image of 200 million pixels, with transparency and turned
    targets = [
        Target("jpeg", "face.jpg", jpegs, read_image, mutate_jpeg, large),
        Target("png", "face.png", pngs, read_image, mutate_png, large),
        Target("gif", "face.gif", gifs, read_image, None, large),
        Target("bmp", "face.bmp", bmps, read_image, None, large),
        Target("tiff", "face.tiff", tiffs, read_image, mutate_tiff, large),
        Target("webp", "face.webp", webps, read_image, None, large),
        Target("pnm", "face.ppm", pnms, read_image, None, large),
        Target("heic", "face.heic", heics, read_image, None, large),
        Target("avif", "face.avif", avifs, read_image, None, large),
        Target("archive", "faces.zip", archives, read_archive, mutate_zip),
        Target("celeba archive", "img_align_celeba.zip", archives, read_archive, mutate_zip),
        Target("attribute table", "list_attr_celeba.txt", attribute_tables, _read_attributes, mutate_table),
        Target("partition", "list_eval_partition.txt", partitions, _read_partition, mutate_table),
        Target("faces", "faces.h5", faces_files, read_faces, mutate_hdf5),
        Target("latents", "latents.h5", latents_files, read_latents, mutate_hdf5),
        Target("map", "map.h5", coordinates_files, read_coordinates, mutate_hdf5),
        Target("weights", "vae.safetensors", weights_files, read_weights, mutate_safetensors),
        Target("checkpoint", "vae.checkpoint.safetensors", checkpoint_files, read_checkpoint, mutate_safetensors),
        Target("upscaler", "upscaler.safetensors", upscaler_files, read_upscaler, mutate_safetensors),
        Target(
            "upscaler checkpoint",
            "upscaler.checkpoint.safetensors",
            upscaler_checkpoint_files,
            read_upscaler_checkpoint,
            mutate_safetensors,
        ),
        Target("judge", "judge.safetensors", judge_files, read_judge, mutate_safetensors),
        Target("frame network", "frame.safetensors", frame_files, read_frame, mutate_safetensors),
        Target("detector", "pnet.lz4", detector_files, read_detector),
        Target("journal", "faces.h5.unfinished", journals, read_journal, mutate_journal),
        Target("run log", "run.jsonl", run_logs, read_run_log),
        Target("attribute names", "latents.h5", latents_files, read_attribute_names, mutate_hdf5),
        Target("any", "file", any_files, read_any),
    ]
    absent = {
        name
        for name, package in (("heic", "pillow_heif"), ("detector", "mtcnn"), ("detector", "lz4"))
        if not _installed(package)
    }
    if not features.check("avif"):
        absent.add("avif")
    return {target.name: target for target in targets if target.name not in absent}
