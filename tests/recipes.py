"""For every command that writes: a line that does so within seconds, for the tests of faults and for `benchmarks/kills.py`."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import support
from helpers import (
    LATENT_DIM,
    lively_model,
    put_latents,
    put_other_weights,
    put_pictures,
    put_upscaler,
    put_weights,
    run,
)

WRITE_NOTHING = frozenset({"attributes", "evaluate", "info"})
SERVE = frozenset({"explore"})
"""Those that go on until they are stopped: `test_cli_explore` starts and stops them."""
EARLIER_PICTURE = "earlier.png"


@dataclass(frozen=True)
class Recipe:
    """A line of a command that writes.

    Attributes:
        name: of the recipe: the command, and what is special.
        line: what follows `facevae`, with `{out}` for the output.
        out: the output in the workspace of `put_workspace`.
        inputs: the files that the line reads there.
        earlier: the file that may lie at `out` from an earlier run; empty where only a run of the line itself makes such files.
        folder: whether `out` is a folder of pictures.
        exact: whether two runs write the same bytes; those of a training tell how long it took.
        keeps: whether the files of an earlier run are set aside under other names.
        redirected: whether the output is standard output, which the shell sends to `out`.
    """

    name: str
    line: str
    out: str
    inputs: tuple[str, ...] = ()
    earlier: str = EARLIER_PICTURE
    folder: bool = False
    exact: bool = True
    keeps: bool = False
    redirected: bool = False

    @property
    def command(self) -> str:
        """The name of the command."""
        return self.line.partition(" ")[0]

    def words(self, out: str | None = None) -> list[str]:
        """Return the line in words, with this or another output."""
        return [word.replace("{out}", out or self.out) for word in shlex.split(self.line)]


_TRAIN = "train --channels 2 --latent-dim 3 --batch-size 10 -e {epochs} -o {{out}} -q"
_VDSR = "train-upscaler --batch-size 4 -e {epochs} -o {{out}} -q"
_FACE, _FACE_2, _WEIGHTS = "faces/face1.png", "faces/face2.png", "vae.safetensors"

RECIPES = (
    Recipe(
        "prepare",
        "prepare --celeba-dir celeba -o {out} -q",
        "prepared.h5",
        ("celeba/img_align_celeba/000003.jpg", "celeba/list_attr_celeba.txt", "celeba/list_eval_partition.txt"),
        "faces.h5",
    ),
    Recipe("align", "align photo.png -o {out} -q", "aligned.png", ("photo.png",)),
    Recipe("align, folder", "align photo.png photo-2.png -o {out} -q", "aligned", ("photo.png",), folder=True),
    Recipe("train", _TRAIN.format(epochs=1), "trained.safetensors", ("faces.h5",), earlier="", exact=False, keeps=True),
    Recipe(
        "train --resume",
        f"{_TRAIN.format(epochs=4)} --resume",
        "trained.safetensors",
        ("faces.h5", "trained.checkpoint.safetensors"),
        earlier="",
        exact=False,
    ),
    Recipe("train-upscaler", _VDSR.format(epochs=1), "vdsr.safetensors", ("faces-96.h5",), "", exact=False, keeps=True),
    Recipe("encode", "encode -o {out} -q", "encoded.h5", ("faces.h5", _WEIGHTS), "earlier.h5"),
    Recipe("encode images", f"encode {_FACE} {_FACE_2} --no-align -o {{out}} -q", "encoded.h5", (_FACE,), "earlier.h5"),
    Recipe("encode >", "encode -q", "redirected.h5", ("faces.h5", _WEIGHTS), redirected=True),
    Recipe("merge", "merge part-1.h5 part-2.h5 -o {out} -q", "joined.h5", ("part-1.h5", "part-2.h5"), "earlier.h5"),
    Recipe("export", "export latents.h5 -o {out} -q", "exported.csv", ("latents.h5",), "earlier.csv"),
    Recipe("export, npz", "export latents.h5 -o {out} -q", "exported.npz", ("latents.h5",), "earlier.csv"),
    Recipe("sample", "sample -n 4 --seed 1 -o {out} -q", "samples.png", (_WEIGHTS,)),
    Recipe("sample --separate", "sample -n 6 --seed 1 --separate -o {out} -q", "samples", (_WEIGHTS,), folder=True),
    Recipe("reconstruct", "reconstruct -n 4 -o {out} -q", "reconstructions.png", ("faces.h5", _WEIGHTS)),
    Recipe("morph", f"morph {_FACE} --attr Smiling --no-align -o {{out}} -q", "morph.png", (_FACE, _WEIGHTS)),
    Recipe("morph, animation", f"morph {_FACE} --attr Smiling --no-align -s -1,1 -o {{out}} -q", "morph.gif", (_FACE,)),
    Recipe("morph --paste", "morph photo.png --attr Smiling --paste -o {out} -q", "pasted.png", ("photo.png",)),
    Recipe("interpolate", f"interpolate {_FACE} {_FACE_2} --no-align -o {{out}} -q", "between.png", (_FACE, _FACE_2)),
    Recipe("average", "average --latents latents.h5 -o {out} -q", "average.png", ("latents.h5", _WEIGHTS)),
    Recipe("neighbours", "neighbours --name 000003.jpg -n 3 -o {out} -q", "near.png", ("latents.h5", "faces.h5")),
    Recipe("upscale", f"upscale {_FACE} -o {{out}} -q", "large.png", (_FACE, "upscaler.safetensors")),
    Recipe("upscale, folder", f"upscale {_FACE} {_FACE_2} -o {{out}} -q", "large", (_FACE,), folder=True),
    Recipe("umap", "umap latents.h5 --seed 1 -o {out} -q", "map.png", ("latents.h5",)),
    Recipe("umap --html", "umap latents.h5 --seed 1 -o map-too.png --html {out} -q", "map.html", ("latents.h5",)),
    Recipe(
        "umap --coordinates",
        "umap latents.h5 --seed 1 -o map-too.png --coordinates {out} -q",
        "map.h5",
        ("latents.h5",),
        "earlier-map.h5",
    ),
    Recipe("activations", f"activations {_FACE} --no-align -o {{out}} -q", "activations", (_FACE,), folder=True),
    Recipe("demo", "demo -n 100 -e 1 -o {out} -q", "demo", earlier="", folder=True, exact=False),
)


def missing(commands: Iterable[str]) -> str:
    """Return what these recipes lack, in a sentence; nothing where they have all of the commands that write."""
    known = {recipe.command for recipe in RECIPES} | WRITE_NOTHING | SERVE
    unknown = sorted(set(commands) ^ known)
    return f"tests/recipes.py and the commands differ in {', '.join(unknown)}." if unknown else ""


def put_workspace(folder: Path, photo: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], drawn: int = 12) -> None:
    """Make a folder in which all recipes work, with `photo`, uint8 (H, W, 3), as the photograph; it is not made smaller."""
    from facevae.drawing import write_drawn_faces

    put_weights(folder)
    put_other_weights(folder / "other.safetensors")
    put_upscaler(folder / "upscaler.safetensors")
    put_latents(folder)
    support.write_faces(folder / "faces.h5")
    support.write_faces(folder / "faces-96.h5", count=12, size=96)
    put_pictures(folder / "faces", 3)
    write_drawn_faces(folder / "celeba", drawn)
    Image.fromarray(photo).save(folder / "photo.png")
    Image.fromarray(photo).save(folder / "photo-2.png")
    _put_shards(folder)
    _put_earlier(folder)


def put_trained_workspace(folder: Path) -> None:
    """Make such a folder with a photograph in which `FakeFaces` finds a face, and train in it, for `--resume` to go on."""
    photo = support.random_images(1, 100, seed=9)[0][:80].copy()
    photo[0, 0] = 1
    put_workspace(folder, photo)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(*next(recipe for recipe in RECIPES if recipe.name == "train").words()).code == 0


def _put_shards(folder: Path) -> None:
    from facevae import encode

    for part in (1, 2):
        encode(
            faces=folder / "faces.h5",
            weights=folder / "vae.safetensors",
            output=folder / f"part-{part}.h5",
            shard=f"{part}/2",
        )


def _put_earlier(folder: Path) -> None:
    """Write what earlier runs with other inputs would have left, one of each kind."""
    from facevae.storage.coordinates import write_coordinates
    from facevae.storage.latents import Latents

    faces = support.write_faces(folder / "earlier-faces.h5", count=12, seed=3)
    latents = support.write_latents(folder / "earlier.h5", lively_model(), faces)
    faces.unlink()
    with Latents(latents) as opened:
        rows = np.arange(opened.count)
        points = np.zeros((opened.count, 2), np.float32)
        settings = {"n_neighbors": 15, "min_dist": 0.1, "seed": 1}
        mean = np.zeros((opened.count, LATENT_DIM), np.float32)
        write_coordinates(folder / "earlier-map.h5", points, rows, opened, settings, mean=mean)
    (folder / "earlier.csv").write_text("name,z0,z1\nanna.jpg,0.5,1.5\n")
    Image.new("RGB", (40, 30), "teal").save(folder / EARLIER_PICTURE)


def put_earlier(recipe: Recipe, folder: Path, whole: Path) -> None:
    """Put into a workspace what an earlier run left at a recipe's outputs: of the same names as in `whole`, a run's outcome."""
    if recipe.redirected:
        return
    for path in sorted(whole.rglob("*")):
        name = path.relative_to(whole)
        if path.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            source = path if not recipe.earlier else folder / recipe.earlier
            if recipe.earlier and name.name != Path(recipe.out).name:
                source = folder / EARLIER_PICTURE
            shutil.copy(source, folder / name)
