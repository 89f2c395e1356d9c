"""What the explorer computes, held to what the commands compute of the same faces."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import facevae
import support
from exploring import edit, prior_model, put_explored, session_here
from facevae.errors import DataError, MismatchError, MissingExtraError, UsageError
from facevae.explorer.drawings import animation, strip
from facevae.explorer.edits import Edit
from facevae.explorer.face_map import FaceMap
from facevae.explorer.face_refs import FaceRef, MeanFace, PhotoFace, RandomFace, RowFace, UnknownFaceError
from facevae.explorer.face_set import FaceSet, judged, random_faces
from facevae.explorer.facts import face_facts, state_facts
from facevae.explorer.kept import NEWEST
from facevae.explorer.morph_command import MorphCommands, morph_commands
from facevae.explorer.session import Session
from facevae.figures.canvas import GAP, MARGIN
from facevae.progress import silent
from facevae.storage.faces import Faces
from facevae.storage.latents import Latents
from facevae.storage.shipped import FOLDER, FRAME_NETWORK, JUDGE
from facevae.storage.weights import FaceModel
from facevae.workflows.upscalers import FaceUpscaling
from helpers import (
    FakeFaces,
    lively_model,
    pixels,
    put_latents,
    put_other_weights,
    put_photographs,
    put_pictures,
    put_weights,
    ship_upscalers,
    succeed,
    tile,
)

SIDE = 96
NAME = "000007.jpg"
ROW = 6
MOVES = {"Smiling": 1.5, "Male": -0.75}
REMEDY = "the newest 50 are kept"


@pytest.fixture(autouse=True)
def here(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (JUDGE, FRAME_NETWORK):
        (workspace / "shipped").mkdir(exist_ok=True)
        (workspace / "shipped" / name).symlink_to(FOLDER / name)
    ship_upscalers(workspace / "shipped", monkeypatch)
    put_explored(workspace)


@pytest.fixture
def session() -> Iterator[Session]:
    with session_here() as opened:
        yield opened


def photo(session: Session, number: int = 1) -> PhotoFace:
    """A picture of 44 x 44 pixels, taken in as it is."""
    path = put_pictures(Path("mine"), 2, size=44)[number - 1]
    (face,), notices = session.add_photo(path.read_bytes(), path.name, align=False)
    assert notices == []
    return face


def face_of(session: Session, kind: str) -> FaceRef:
    faces: dict[str, FaceRef] = {"row": RowFace(ROW), "random": RandomFace(3, 0.7), "photo": photo(session)}
    return faces[kind]


def moved(face: FaceRef, keep: tuple[str, ...] = ()) -> Edit:
    return Edit(face, tuple(MOVES.items()), keep)


def originals() -> NDArray[np.uint8]:
    with Faces("faces.h5") as faces:
        return faces.read(0, faces.count)


def means() -> NDArray[np.float32]:
    with Latents("latents.h5") as latents:
        return latents.mean()


def test_latents_are_those_of_the_commands(session: Session) -> None:
    assert np.array_equal(session.latent(RowFace(ROW)), means()[ROW])
    drawn = prior_model().draw(1, seed=3, temperature=0.7)[0]
    assert np.array_equal(session.latent(RandomFace(3, 0.7)), drawn)
    facevae.encode([Path("mine/face1.png")] if photo(session) else [], "mine.h5", align=False)
    with Latents("mine.h5") as mine:
        assert np.array_equal(session.latent(PhotoFace(1)), mine.mean()[0])
    mean = session.add_mean(np.array([4, 2, 4, 9]))
    assert np.allclose(session.latent(mean), means()[[2, 4, 9]].mean(axis=0, dtype=np.float64), atol=1e-7)


@pytest.mark.parametrize("kind", ["row", "random", "photo"])
def test_an_edited_face_is_that_of_morph(session: Session, kind: str) -> None:
    face = face_of(session, kind)
    given = {"row": {"name": NAME}, "random": {"sample": 3, "temperature": 0.7}, "photo": {"faces": "mine/face1.png"}}
    align = {"align": False} if kind == "photo" else {}
    for keep in ((), ("Attractive",), ("Wearing_Hat", "Attractive")):
        made = facevae.morph(attribute=MOVES, steps=(1.0,), keep=keep, **given[kind], **align)  # type: ignore[arg-type]
        found = session.decode(moved(face, keep))
        assert np.array_equal(found, made.morphs[0, 0])
        assert not np.array_equal(found, session.decode(Edit(face)))


@pytest.mark.parametrize("upscale", [0, 3])
@pytest.mark.parametrize("kind", ["row", "random", "photo"])
@pytest.mark.parametrize("keep", [(), ("Wearing_Hat",)])
def test_the_command_line_makes_the_same_picture(
    session: Session, kind: str, upscale: int, keep: tuple[str, ...]
) -> None:
    wanted = moved(face_of(session, kind), keep)
    commands = morph_commands(session, wanted, upscale, None)
    assert commands.picture is not None
    assert commands.strip is not None
    for line in (commands.strip, commands.picture):
        words = shlex.split(line)
        assert words[0] == "facevae"
        if kind == "photo":
            words[words.index("face1.png")] = "mine/face1.png"
        outcome = succeed(*words[1:])
        assert Path(outcome.lines[0]).exists()
    strip_file, picture_file = (Path(shlex.split(line)[-1]) for line in (commands.strip, commands.picture))
    assert strip_file.read_bytes() == strip(session, wanted, upscale)
    shown = tile(pixels(picture_file), MARGIN + SIDE + GAP, MARGIN + 70, SIDE)
    made = Image.fromarray(session.decode(wanted, upscale)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    assert np.array_equal(shown, np.asarray(made))


def test_what_command_lines_say(session: Session) -> None:
    def of(face: FaceRef, weights: str | None = None, upscale: int = 0) -> MorphCommands:
        return morph_commands(session, moved(face), upscale, weights)

    moves = "--attr Smiling=1.5 --attr Male=-0.75"
    steps = "--steps 0,0.25,0.5,0.75,1"
    assert of(RowFace(ROW)) == (
        f"facevae morph --name {NAME} {moves} --steps 1 -o 000007-morph.png",
        f"facevae morph --name {NAME} {moves} {steps} -o 000007-strip.png",
        None,
    )
    assert of(RandomFace(3, 1.0), "faces-32", 3).picture == (
        f"facevae morph --sample 3 {moves} --upscale 3 --weights faces-32 --steps 1 -o random-3-morph.png"
    )
    assert of(RandomFace(3, 0.7)).picture == (
        f"facevae morph --sample 3 --temperature 0.7 {moves} --steps 1 -o random-3-morph.png"
    )
    assert of(photo(session)) == (
        f"facevae morph face1.png --no-align {moves} --steps 1 -o face1-morph.png",
        f"facevae morph face1.png --no-align {moves} {steps} -o face1-strip.png",
        "Run it in the folder that holds face1.png.",
    )
    mean = session.add_mean(np.array([1, 2]))
    text = "The mean of 2 faces has no command line: no command averages a selection of the map."
    assert of(mean) == (None, None, text)
    nothing = "Nothing is moved yet: move a slider, and the command line that does so stands here."
    assert morph_commands(session, Edit(RowFace(1)), 0, None) == (None, None, nothing)


def test_a_command_line_says_what_morph_would_say(session: Session) -> None:
    keep = ("Attractive", "Wearing_Hat", "Male")
    commands = morph_commands(session, edit(RowFace(1), keep, Smiling=1.0), 0, None)
    made = support.Recorder()
    facevae.morph(name="000002.jpg", attribute="Smiling", keep=keep, report=made)
    said = [text for text in made.notices if text.startswith("Little of")]
    assert (commands.note or "") == " ".join(said)
    assert "--keep Attractive,Wearing_Hat,Male" in (commands.picture or "")


def test_the_command_line_of_other_latents() -> None:
    Path("latents.h5").rename("some faces.h5")
    with session_here(latents="some faces.h5") as session:
        line = morph_commands(session, edit(RowFace(ROW), Smiling=1.0), 0, None).picture
        assert line == (
            "facevae morph --name 000007.jpg --among 'some faces.h5' --attr Smiling=1 --steps 1 -o 000007-morph.png"
        )
        succeed(*shlex.split(line)[1:])


def test_names_that_need_care(session: Session) -> None:
    session.faces.names[3] = "-it's.jpg"
    session.faces.names[5] = session.faces.names[4]
    line = morph_commands(session, edit(RowFace(3), Smiling=1.0), 0, None).picture
    assert line == """facevae morph '--name=-it'"'"'s.jpg' --attr Smiling=1 --steps 1 -o it-s-morph.png"""
    assert morph_commands(session, edit(RowFace(5), Smiling=1.0), 0, None) == (
        None,
        None,
        "Several faces of latents.h5 are called 000005.jpg: a command line would take the first of them.",
    )
    (face,), _ = session.add_photo(
        Path("mine/face1.png").read_bytes() if photo(session) else b"", "-x.png", align=False
    )
    line = morph_commands(session, edit(face, Smiling=1.0), 0, None).picture
    assert line == "facevae morph ./-x.png --no-align --attr Smiling=1 --steps 1 -o x-morph.png"


def test_a_random_face_is_that_of_sample(session: Session) -> None:
    made = facevae.sample(1, "out.png", seed=11, temperature=0.5)
    assert np.array_equal(session.picture(RandomFace(11, 0.5), "reconstruction"), made.faces[0])
    assert session.add_random(0.5, 11) == RandomFace(11, 0.5)
    drawn = session.add_random(1.0)
    assert drawn.temperature == 1.0
    assert drawn != session.add_random(1.0)


@pytest.mark.parametrize(("temperature", "seed"), [(-0.1, None), (100.1, 1), (1.0, -1)])
def test_random_faces_out_of_range(session: Session, temperature: float, seed: int | None) -> None:
    with pytest.raises(UsageError, match="out of range"):
        session.add_random(temperature, seed)


def test_the_faces_between_are_those_of_interpolate(session: Session) -> None:
    first, second = photo(session, 1), photo(session, 2)
    paths = ["mine/face1.png", "mine/face2.png"]
    made = facevae.interpolate(paths, "between.png", steps=7, align=False)
    assert np.array_equal(session.between(Edit(first), Edit(second), 7), made.faces[0])
    # To the last digit: `interpolate` encodes the two together.
    for face, latent in zip((first, second), made.latents[0, [0, -1]], strict=True):
        session._photos._things[face.number] = session.photo(face)._replace(latent=latent)
    for upscale in (None, 2):
        facevae.interpolate(paths, "between.gif", align=False, upscale=upscale)
        assert Path("between.gif").read_bytes() == animation(session, Edit(first), Edit(second), upscale or 0)
    with pytest.raises(UsageError, match=r"^1 steps are out of range: use a whole number from 2 to 200\.$"):
        session.between(Edit(first), Edit(second), 1)


def test_an_animation_of_edits_ends_at_them(session: Session) -> None:
    last = edit(RowFace(2), Smiling=2.0)
    data = animation(session, Edit(RowFace(1)), last)
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, getattr(picture, "n_frames", 1)) == ("GIF", 48)
    between = session.between(Edit(RowFace(1)), last, 5, 2)
    assert between.shape == (5, 64, 64, 3)
    assert np.array_equal(between[-1], session.decode(last, 2))


def test_neighbours_are_those_of_the_command(session: Session) -> None:
    made = facevae.neighbours(name=NAME, count=5).queries[0].neighbours
    found = session.neighbours(Edit(RowFace(ROW)), 5)
    assert [row for row, _ in found] == [face.row for face in made]
    assert [distance for _, distance in found] == pytest.approx([face.distance for face in made], abs=1e-12)
    face = photo(session)
    made = facevae.neighbours("mine/face1.png", align=False, count=5).queries[0].neighbours
    assert [row for row, _ in session.neighbours(Edit(face), 5)] == [one.row for one in made]
    assert session.neighbours(edit(RowFace(ROW), Smiling=0.001), 1)[0][0] == ROW
    assert len(session.neighbours(Edit(RowFace(ROW)), 200)) == 59


def test_pictures_are_enlarged_as_the_commands_do(session: Session) -> None:
    images, face = originals(), RowFace(ROW)
    assert np.array_equal(session.picture(face, "original"), images[ROW])
    of_photographs = FaceUpscaling.load(2, None, "photographs", "cpu", silent)
    of_decoded = FaceUpscaling.load(2, None, "reconstructions", "cpu", silent)
    assert np.array_equal(session.picture(face, "original", 2), of_photographs.all(images[ROW]))
    decoded = prior_model().decode(means()[ROW][None])
    assert np.array_equal(session.picture(face, "reconstruction"), decoded[0])
    assert np.array_equal(session.picture(face, "reconstruction", 2), of_decoded.all(decoded)[0])
    with pytest.raises(UsageError, match=r"^There is no picture mirror: use original or reconstruction\.$"):
        session.picture(face, "mirror")
    with pytest.raises(UnknownFaceError, match=r"^There is no original of random 1: it was not photographed\.$"):
        session.picture(RandomFace(1, 1.0), "original")


def test_thumbnails_are_originals_or_decoded(session: Session) -> None:
    assert np.array_equal(session.thumbnail(ROW), originals()[ROW])
    Path("faces.h5").unlink()
    with session_here() as without:
        assert np.array_equal(without.thumbnail(ROW), prior_model().decode(means()[ROW][None])[0])
        assert without.faces.why_no_originals == (
            "There is no faces.h5 with the faces of latents.h5: faces are shown as decoded."
        )
        with pytest.raises(UnknownFaceError, match=r"^There is no faces\.h5 with the faces of latents\.h5"):
            without.picture(RowFace(1), "original")


def test_damaged_originals_are_a_reason() -> None:
    Path("faces.h5").write_bytes(b"no HDF5")
    with session_here() as session:
        assert (session.faces.why_no_originals or "").startswith("faces.h5 is not a file of prepared faces (not HDF5).")


def test_the_originals_of_a_shard_are_those_of_its_rows() -> None:
    facevae.encode(output="part.h5", shard="2/3", precision="fp32")
    with session_here(latents="part.h5") as session:
        assert session.faces.count == 20
        assert np.array_equal(session.thumbnail(0), originals()[20])


def test_moves(session: Session) -> None:
    base, model = session.latent(RowFace(1)), prior_model()
    assert np.array_equal(session.moved(Edit(RowFace(1))), base)
    directions = {name: model.direction(name) for name in MOVES}
    there = base + 1.5 * directions["Smiling"] - 0.75 * directions["Male"]
    assert np.allclose(session.moved(moved(RowFace(1))), there, atol=1e-6)
    held = session.moved(edit(RowFace(1), ("Male",), Smiling=1.0)) - base
    assert np.allclose(held, model.direction("Smiling", ["Male"]), atol=1e-6)


@pytest.mark.parametrize(
    ("wanted", "kind", "sentence"),
    [
        (
            edit(RowFace(1), Smilling=1.0),
            UsageError,
            "There is no attribute Smilling in vae.safetensors. Did you mean Smiling?",
        ),
        (edit(RowFace(1), ("Smiling",), Smiling=1.0), UsageError, "Smiling cannot be moved and kept at once: "),
        (edit(RowFace(1), Bald=1.0), DataError, "vae.safetensors knows no direction for Bald: "),
        (Edit(RowFace(60)), UnknownFaceError, "There is no row 60 on the map: it has 60 faces, from row 0."),
        (
            Edit(PhotoFace(1)),
            UnknownFaceError,
            f"There is no photo 1, or not any more: {REMEDY}; give the picture again.",
        ),
        (
            Edit(MeanFace(9)),
            UnknownFaceError,
            f"There is no mean 9, or not any more: {REMEDY}; select the faces again.",
        ),
    ],
)
def test_edits_that_cannot_be_made(session: Session, wanted: Edit, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind) as error:
        session.decode(wanted)
    assert str(error.value).startswith(sentence)


def test_a_strip_needs_a_move(session: Session) -> None:
    with pytest.raises(UsageError, match=r"^Nothing is moved yet: move a slider first\.$"):
        strip(session, Edit(RowFace(1)))


def test_directions_are_computed_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    there = session.moved(edit(RowFace(1), ("Male",), Smiling=1.0))
    monkeypatch.setattr("facevae.storage.directions.hold_still", None)
    assert np.array_equal(session.moved(edit(RowFace(1), ("Male",), Smiling=1.0)), there)
    with pytest.raises(TypeError):
        session.moved(edit(RowFace(1), ("Wearing_Hat",), Smiling=1.0))


def test_the_newest_are_kept(session: Session) -> None:
    faces = [session.add_mean(np.array([row])) for row in range(NEWEST + 1)]
    assert [str(face) for face in faces[:2]] == ["mean/1", "mean/2"]
    assert session.name_of(faces[1]) == "mean of 1 face"
    with pytest.raises(UnknownFaceError):
        session.latent(faces[0])


def test_means_and_names_of_rows(session: Session) -> None:
    everyone = session.add_mean(np.arange(60, dtype=np.uint32))
    assert session.name_of(everyone) == "mean of 60 faces"
    assert session.names_of(np.array([2, 0], dtype=np.uint32)) == ["000003.jpg", "000001.jpg"]
    with pytest.raises(UsageError, match=r"^A mean is of at least one face: select some\.$"):
        session.add_mean(np.array([], dtype=np.uint32))
    for ask in (session.add_mean, session.names_of):
        with pytest.raises(UnknownFaceError, match=r"^There is no row 60 on the map: it has 60 faces, from row 0\.$"):
            ask(np.array([1, 60], dtype=np.uint32))
    with pytest.raises(UsageError, match=r"^61 rows are more than the 60 faces on the map\.$"):
        session.names_of(np.zeros(61, dtype=np.uint32))


def test_attributes_that_come_meanwhile_are_still_told_as_pending(session: Session) -> None:
    class Judged(Session):
        @property
        def faces(self) -> FaceSet:  # type: ignore[override]
            self.attributes_pending = False  # the judge is done at this very moment
            return before

    before = session.faces
    session.attributes_pending = True
    session.__class__ = Judged
    try:
        assert state_facts(session)["attributes_pending"] is True
    finally:
        session.__class__ = Session


def test_faces_are_found_by_name(session: Session) -> None:
    session.faces.names[:5] = ["b.jpg", "Anna.jpg", "joanna.jpg", "anna", "ann.jpg"]
    assert session.find("anna", 20) == ([3, 1, 2], False)
    assert session.find(" ANNA ", 2) == ([3, 1], True)
    assert session.find("", 20) == ([], False)
    assert session.find("zebra", 20) == ([], False)


def test_what_the_page_is_told_first(session: Session) -> None:
    state = state_facts(session)
    lengths = {name: float(np.linalg.norm(prior_model().direction(name))) for name in ("Attractive", "Male", "Smiling")}
    sliders = {slider["name"]: slider["length"] for slider in state["sliders"]}
    assert set(sliders) == {"Attractive", "Male", "Smiling", "Wearing_Hat"}
    assert list(sliders.values()) == sorted(sliders.values(), reverse=True)
    assert {name: sliders[name] for name in lengths} == pytest.approx(lengths)
    assert state["attributes"] == list(support.ATTRIBUTE_NAMES)
    with Latents("latents.h5") as latents:
        assert latents.attributes is not None
        assert state["counts"] == (latents.attributes > 0).sum(axis=0).tolist()
    assert state["faces"] == {
        "kind": "latents",
        "count": 60,
        "path": "latents.h5",
        "originals": True,
        "why_no_originals": None,
    }
    told = ("title", "weights", "image_size", "latent_dim", "default_attribute", "prior", "upscale", "notices")
    assert [state[name] for name in told] == [
        *("latents.h5", "vae.safetensors", 32, 6, "Attractive", "fitted", [2, 3, 4], [])
    ]
    assert [state[name] for name in ("why_no_sliders", "why_no_keep", "why_no_attributes", "attributes_pending")] == [
        *(None, None, None, False)
    ]
    assert state["map"] == {"status": "ready", "method": "PCA", "revision": 1, "progress": None, "message": None}
    assert state["version"] == facevae.__version__


def test_attributes_as_bits(session: Session) -> None:
    bits = np.frombuffer(session.attribute_bits(), np.uint8).reshape(5, 8)
    has = np.unpackbits(bits, axis=1, bitorder="little")[:, :60]
    with Latents("latents.h5") as latents:
        assert latents.attributes is not None
        assert np.array_equal(has.T > 0, latents.attributes > 0)


def test_what_the_page_is_told_of_a_face(session: Session) -> None:
    with Latents("latents.h5") as latents:
        assert latents.attributes is not None
        has = [name for name, value in zip(latents.attribute_names, latents.attributes[ROW], strict=True) if value > 0]
    point = session.map.state.points[ROW].tolist()
    facts = {"face": "row/6", "name": NAME, "attributes": has, "split": "train", "point": point, "original": True}
    assert face_facts(session, RowFace(ROW)) == facts
    assert [face_facts(session, RowFace(row))["split"] for row in (2, 5)] == ["valid", "test"]
    drawn = face_facts(session, RandomFace(3, 0.7))
    assert drawn == {
        **{"face": "random/3/0.7", "name": "random 3", "attributes": None, "split": None, "original": False},
        "point": session.place(Edit(RandomFace(3, 0.7))).tolist(),
    }
    given = face_facts(session, photo(session))
    assert (given["face"], given["name"], given["original"]) == ("photo/1", "face1.png", True)
    assert np.array_equal(
        session.picture(PhotoFace(1), "original"),
        facevae.reconstruct(["mine/face1.png"], "out.png", align=False).inputs[0],
    )


def test_models_and_latents_that_say_less() -> None:
    put_weights(Path())  # without a prior
    put_latents(Path(), attributes=False)
    with session_here() as session:
        session.model = lively_model()
        state = state_facts(session)
    assert (state["attributes"], state["counts"], state["default_attribute"]) == ([], [], None)
    assert state["why_no_attributes"] == "latents.h5 holds no attributes."
    assert state["why_no_keep"] == "vae.safetensors holds no fitted prior, from which keep knows how latents vary."
    assert state["prior"] == "normal"
    assert session.attribute_bits() == b""


def random_session(model: FaceModel) -> Session:
    faces = random_faces(model, 12)
    return Session(model, faces, FaceMap(faces.mean))


def test_weights_without_attributes() -> None:
    model = put_other_weights(Path("other.safetensors"), attributes=False)
    session = random_session(model)
    state = state_facts(session)
    assert state["sliders"] == []
    assert (
        state["why_no_sliders"]
        == "vae.safetensors knows no attributes: it was trained on faces without a table of them."
    )
    with pytest.raises(DataError, match=r"knows no attributes"):
        session.decode(edit(RowFace(1), Smiling=1.0))


def test_random_faces_can_each_be_drawn_again() -> None:
    with session_here(random=20) as session:
        assert (session.faces.kind, session.faces.count, session.faces.path) == ("random", 20, None)
        for row in (0, 7):
            made = facevae.sample(1, "out.png", seed=row + 1)
            assert np.array_equal(session.thumbnail(row), made.faces[0])
        assert session.name_of(RowFace(7)) == "random 8"
        line = morph_commands(session, edit(RowFace(7), Smiling=1.0), 0, None).picture
        assert line == "facevae morph --sample 8 --attr Smiling=1 --steps 1 -o random-8-morph.png"
        state = state_facts(session)
        assert state["title"] == "20 random faces"
        assert state["faces"]["why_no_originals"] == (
            "The faces on the map are drawn at random: there are no photographs of them."
        )


def test_random_faces_are_judged() -> None:
    model = prior_model()
    faces = judged(model, random_faces(model, 12))
    assert len(faces.attribute_names) == 40
    assert faces.has is not None
    assert faces.has.shape == (12, 40)
    assert faces.why_no_attributes is None
    small = put_other_weights(Path("small.safetensors"), size=16)
    faces = judged(small, random_faces(small, 12))
    assert (faces.attribute_names, faces.has) == ((), None)
    assert "takes images of 32 x 32 pixels" in (faces.why_no_attributes or "")
    assert judged(model, random_faces(model, 12), lambda: True).has is None


def test_faces_of_photographs(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    found = FakeFaces(monkeypatch)
    one, three, many, none = put_photographs(Path("photos"), 1, 3, 25, 0)
    faces, notices = session.add_photo(three.read_bytes(), "../party.png", align=True)
    assert (notices, found.loaded) == ([], 1)
    assert [str(face) for face in faces] == ["photo/1", "photo/2", "photo/3"]
    assert [session.name_of(face) for face in faces] == ["party.png#1", "party.png#2", "party.png#3"]
    Path("party.png").write_bytes(three.read_bytes())
    for number, face in enumerate(faces, start=1):
        made = facevae.morph("party.png", "Smiling", "out.png", steps=(1.0,), which=number)
        assert np.array_equal(session.decode(edit(face, Smiling=1.0)), made.morphs[0, 0])
        commands = morph_commands(session, edit(face, Smiling=1.0), 0, None)
        assert ("--face" in (commands.picture or "")) == (number > 1)
        assert commands.strip is not None
        assert succeed(*shlex.split(commands.strip)[1:]).lines
        assert Path(shlex.split(commands.strip)[-1]).read_bytes() == strip(session, edit(face, Smiling=1.0))
    before = found.loaded
    faces, notices = session.add_photo(many.read_bytes(), "crowd.png", align=True)
    assert len(faces) == 20
    assert notices == ["crowd.png has 25 faces: the largest 20 are taken."]
    (face,), _ = session.add_photo(one.read_bytes(), "one.png", align=True)
    assert session.name_of(face) == "one.png"
    with pytest.raises(DataError, match=r"^No face of 20 pixels or more was found in none\.png: crop it closer\.$"):
        session.add_photo(none.read_bytes(), "none.png", align=True)
    assert found.loaded == before


def test_what_is_no_photograph(session: Session) -> None:
    for data in (b"", b"no picture", put_pictures(Path("mine"), 1)[0].read_bytes()[:200]):
        with pytest.raises(DataError, match=r"bad\.png"):
            session.add_photo(data, "bad.png", align=False)


def test_photographs_without_the_extra(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise MissingExtraError("missing")

    monkeypatch.setattr("facevae.workflows.face_finding.load_face_networks", load)
    data = put_photographs(Path("photos"), 1)[0].read_bytes()
    with pytest.raises(MissingExtraError) as error:
        session.add_photo(data, "me.png", align=True)
    assert str(error.value) == 'Finding the face in me.png needs the extra align: pip install "facevae[align]".'
    monkeypatch.setattr("facevae.explorer.facts.find_spec", lambda name: None)
    state = state_facts(session)
    assert (state["align"], state["why_no_align"]) == (
        False,
        'Finding faces needs the extra align: pip install "facevae[align]".',
    )


def test_a_telephones_picture_without_the_extra(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "pillow_heif.as_plugin", None)
    with pytest.raises(DataError) as error:
        session.add_photo(b"\0\0\0\x18ftypheic" + bytes(40), "anna.heic", align=True)
    assert str(error.value) == (
        'anna.heic is a HEIC image, which takes the extra heic: pip install "facevae[heic]", or save it as a JPEG.'
    )


def test_large_faces_are_enlarged_less() -> None:
    model = put_other_weights(Path("large.safetensors"), size=256)
    session = random_session(model)
    assert state_facts(session)["upscale"] == [2, 3]
    with pytest.raises(UsageError) as error:
        session.decode(Edit(RowFace(0)), 4)
    assert str(error.value) == (
        "Faces of 256 pixels are not upscaled 4 times here: more than 768 pixels a side would take too long."
    )


def test_latents_of_other_weights() -> None:
    other = put_other_weights(Path("other.safetensors"))
    support.write_latents(Path("latents.h5"), other, Path("faces.h5"))
    with pytest.raises(MismatchError, match=r"^latents\.h5 was not made by "), session_here():
        pass
