"""`facevae demo`: everything it promises is there, and the page shows it."""

from __future__ import annotations

import html.parser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facevae.progress import Event, Notice
from helpers import files, refusal


class _Images(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.sources.append(str(dict(attrs)["src"]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """A small demo, and what it reported."""
    from facevae import demo

    out = tmp_path_factory.mktemp("demo") / "out"
    events: list[Event] = []
    demo(out, count=100, epochs=1, report=events.append)
    return out, events


def test_every_stage_left_its_file(made: tuple[Path, list[Event]]) -> None:
    from facevae import FaceModel, Faces, Latents

    out, _ = made
    assert len(list((out / "celeba" / "img_align_celeba").glob("*.jpg"))) == 100
    model = FaceModel.load(out / "vae.safetensors")
    assert len(model.attribute_names) == 40
    with Faces(out / "faces.h5") as faces, Latents(out / "latents.h5") as latents:
        assert latents.faces_fingerprint == faces.fingerprint
        assert latents.weights_hash == model.hash()
        assert np.array_equal(latents.mean()[:8], model.encode(faces.read(0, 8))[0])


def test_the_page_shows_every_picture(made: tuple[Path, list[Event]]) -> None:
    out, _ = made
    parser = _Images()
    parser.feed((out / "index.html").read_text(encoding="utf-8"))
    assert parser.sources == [
        "faces.png",
        "vae.loss.png",
        "reconstructions.png",
        "samples.png",
        *(f"morph-{name}.png" for name in ("Smiling", "Eyeglasses", "Male", "Blond_Hair", "Attractive")),
        "morph-Smiling.gif",
        "activations/overview.png",
        "umap.png",
    ]
    for source in parser.sources:
        with Image.open(out / source) as picture:
            assert min(picture.size) > 100


def test_it_says_what_it_is_doing(made: tuple[Path, list[Event]]) -> None:
    out, events = made
    notices = [event.text for event in events if isinstance(event, Notice) and event.text.startswith("demo: ")]
    assert notices == [
        f"demo: drawing 100 faces into {out / 'celeba'}",
        "demo: preparing them",
        "demo: training for 1 epoch",
        "demo: encoding all faces",
        "demo: drawing the pictures",
    ]


def test_too_few_faces(workspace: Path) -> None:
    from facevae import demo
    from facevae.errors import UsageError

    with pytest.raises(UsageError) as error:
        demo(workspace / "out", count=99)
    assert str(error.value) == "99 faces are too few for the demo: ask for at least 100."
    assert not (workspace / "out").exists()


def test_a_folder_with_faces_of_others_is_refused(workspace: Path) -> None:
    from facevae import demo
    from facevae.errors import UsageError

    attributes = workspace / "out" / "celeba" / "list_attr_celeba.txt"
    attributes.parent.mkdir(parents=True)
    attributes.write_text("mine")
    with pytest.raises(UsageError) as error:
        demo(workspace / "out", count=100)
    assert str(error.value) == (
        f"{attributes.parent} already holds list_attr_celeba.txt, which facevae did not draw: "
        "name another folder, so that nothing of yours is overwritten."
    )
    assert attributes.read_text() == "mine"


@pytest.mark.parametrize("name", ["faces.h5", "vae.safetensors", "latents.h5"])
def test_a_folder_where_someone_works_is_refused(workspace: Path, name: str) -> None:
    """The demo would replace their faces and latents by its own."""
    Path("study").mkdir()
    Path("study", name).write_bytes(b"months of work")
    message = f"study holds a {name} that is not the demo's: name another folder with --out."
    assert refusal("demo", "--out", "study", "--count", 100, code=2) == message
    assert refusal("demo", "--out", "./study/", code=2) == message
    assert files("study") == [name]
    assert Path("study", name).read_bytes() == b"months of work"


def test_the_current_folder_is_refused_too(workspace: Path, latents_file: Path) -> None:
    before = latents_file.read_bytes()
    assert refusal("demo", "--out", ".", code=2) == (
        ". holds a latents.h5 that is not the demo's: name another folder with --out."
    )
    assert files() == ["latents.h5"]
    assert latents_file.read_bytes() == before


def test_other_files_in_the_folder_do_not_matter_and_the_demos_own_are_replaced(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as the first stage, which is then stopped."""
    from facevae import demo
    from facevae.drawing import write_drawn_faces
    from facevae.errors import DataError
    from facevae.workflows import demo as workflow

    def stop(*_: object, **__: object) -> None:
        raise DataError("stopped")

    monkeypatch.setattr(workflow, "write_drawn_faces", stop)
    Path("notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"^stopped$"):
        demo(".", count=100)
    write_drawn_faces(Path("celeba"), 2)
    for name in ("faces.h5", "vae.safetensors", "latents.h5"):
        Path(name).write_bytes(b"of an earlier demo")
    with pytest.raises(DataError, match=r"^stopped$"):
        demo(".", count=100)
