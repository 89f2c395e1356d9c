"""`facevae encode`: the latents it writes equal those of the model, from faces.h5 and from images."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest

from facevae.storage.faces import Faces
from facevae.storage.images import load_face
from facevae.storage.latents import Latents
from facevae.storage.weights import FaceModel
from helpers import files, put_other_weights, put_pictures, put_weights, refusal, run, succeed


@pytest.fixture
def model(workspace: Path) -> FaceModel:
    return put_weights(workspace)


def test_all_faces_equal_the_models_own_encoding(model: FaceModel, faces_file: Path) -> None:
    outcome = succeed("encode", "-o", "z.h5")
    assert outcome.lines == ["z.h5"]
    assert outcome.stderr == "60 latents of 6 dimensions.\n"
    with Faces(faces_file) as faces, Latents(Path("z.h5")) as latents:
        mean, log_variance = model.encode(faces.read(0, 60))
        assert np.array_equal(latents.mean(), mean)
        assert np.array_equal(latents.log_variance(), log_variance)
        assert latents.names == faces.names
        assert latents.attribute_names == faces.attribute_names
        assert np.array_equal(latents.attributes, faces.attributes)  # type: ignore[arg-type]
        assert np.array_equal(latents.split, faces.split)  # type: ignore[arg-type]
        assert latents.faces_fingerprint == faces.fingerprint
        assert latents.weights_hash == model.hash()
    assert mean.std(axis=0).min() > 0.01  # the comparison would be empty on equal latents


def test_standard_output_is_the_default_and_holds_the_same_latents(
    model: FaceModel, faces_file: Path, tmp_path: Path
) -> None:
    outcome = succeed("encode", "--quiet")
    assert outcome.stderr == ""
    Path("piped.h5").write_bytes(outcome.stdout)
    Path("dash.h5").write_bytes(succeed("encode", "-o", "-").stdout)
    succeed("encode", "-o", "z.h5")
    with Latents(Path("piped.h5")) as piped, Latents(Path("dash.h5")) as dash, Latents(Path("z.h5")) as written:
        assert np.array_equal(piped.mean(), written.mean())
        assert np.array_equal(dash.mean(), written.mean())
        assert piped.names == written.names


def test_images(model: FaceModel) -> None:
    pictures = put_pictures(Path("my faces"), 3, size=50)
    outcome = succeed("encode", *pictures, "-o", "z.h5", "--json")
    assert outcome.json == {"paths": ["z.h5"], "latents": 3, "latent_dim": 6, "skipped": []}
    with Latents(Path("z.h5")) as latents:
        mean, log_variance = model.encode(np.stack([load_face(path, 32) for path in pictures]))
        assert np.array_equal(latents.mean(), mean)
        assert np.array_equal(latents.log_variance(), log_variance)
        assert latents.names == [str(path) for path in pictures]
        assert latents.attributes is None
        assert latents.split is None
        assert latents.faces_fingerprint == ""


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_paths_from_standard_input(model: FaceModel, end: bytes) -> None:
    pictures = put_pictures(Path("my faces"), 4)
    lines = [os.fsencode(path) for path in pictures[1:]]
    outcome = succeed("encode", pictures[0], "-", "-o", "z.h5", stdin=end.join([*lines, b"", b""]))
    assert outcome.lines == ["z.h5"]
    with Latents(Path("z.h5")) as latents:
        assert latents.names == [str(path) for path in pictures]


def test_more_images_than_a_batch(model: FaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facevae.workflows.encode.ENCODE_BATCH", 2)
    pictures = put_pictures(Path("faces"), 5)
    succeed("encode", *pictures, "-o", "z.h5")
    with Latents(Path("z.h5")) as latents:
        expected = np.concatenate([model.encode(load_face(path, 32)[None])[0] for path in pictures])
        assert np.allclose(latents.mean(), expected, atol=1e-5)
        assert latents.names == [str(path) for path in pictures]


def test_other_weights_are_used_where_named(model: FaceModel, faces_file: Path) -> None:
    other = put_other_weights(Path("other.safetensors"))
    succeed("encode", "-w", "other.safetensors", "-o", "z.h5", "--device", "cpu")
    with Latents(Path("z.h5")) as latents, Faces(faces_file) as faces:
        assert latents.weights_hash == other.hash() != model.hash()
        assert np.array_equal(latents.mean(), other.encode(faces.read(0, 60))[0])


def test_unreadable_images_are_left_out_and_named(model: FaceModel) -> None:
    pictures = put_pictures(Path("faces"), 3)
    pictures[1].write_text("text")
    outcome = succeed("encode", *pictures, "missing.jpg", "-o", "z.h5")
    assert outcome.stderr == (
        "Skipped 2 images (--strict makes this an error):\n"
        "  faces/face2.png is not an image that can be read: give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file.\n"
        "  There is no file missing.jpg. Check its name and folder.\n"
        "2 latents of 6 dimensions.\n"
    )
    with Latents(Path("z.h5")) as latents:
        assert latents.names == [str(pictures[0]), str(pictures[2])]
    sentence = refusal("encode", *pictures, "-o", "strict.h5", "--strict")
    assert sentence == (
        "faces/face2.png is not an image that can be read: give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file."
    )
    assert not Path("strict.h5").exists()


def test_no_readable_image(model: FaceModel) -> None:
    Path("a.jpg").write_bytes(b"")
    assert refusal("encode", "a.jpg", "-o", "z.h5") == "a.jpg is empty, where an image is expected."
    assert refusal("encode", "a.jpg", "a.jpg", "-o", "z.h5") == (
        "None of the 2 images could be used. The first: a.jpg is empty, where an image is expected."
    )
    assert refusal("encode", "-", "-o", "z.h5") == (
        "There is no image to encode: name image files or folders, or pass - and send paths to standard input."
    )
    assert not Path("z.h5").exists()


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_file_names_that_are_not_text(model: FaceModel) -> None:
    """`find` writes any bytes; such a face is encoded, under its own name."""
    name = b"f\xe4ce.png"
    put_pictures(Path("faces"), 1)[0].rename(os.fsdecode(name))
    outcome = succeed("encode", "-", "-o", "z.h5", stdin=name + b"\n")
    assert outcome.stderr == "1 latent of 6 dimensions.\n"
    with Latents(Path("z.h5")) as latents:
        assert latents.names == [os.fsdecode(name)]


def test_ruined_weights_are_noticed(model: FaceModel, faces_file: Path) -> None:
    import torch

    ruined = put_other_weights(Path("ruined.safetensors"))
    with torch.no_grad():
        for block in ruined.vae.encoder.blocks:
            block.get_parameter("convolution.weight").fill_(1e30)
    ruined.save(Path("ruined.safetensors"))
    assert refusal("encode", "-w", "ruined.safetensors", "-o", "z.h5") == (
        "ruined.safetensors gives latents that are not finite: train again, with a lower learning rate."
    )
    assert not Path("z.h5").exists()


# ------------------------------------------------------------------------------------------ refusals


def test_a_terminal_on_standard_input_is_refused(model: FaceModel, faces_file: Path) -> None:
    """Waiting for typed paths would look like a program that hangs."""
    message = "Standard input is a terminal: send paths to it, as in: find photos -name '*.jpg' | facevae COMMAND -"
    assert refusal("encode", "-", "-o", "z.h5", code=2, terminal="stdin") == message
    assert refusal("encode", "face.png", "-", "-o", "z.h5", code=2, terminal="stdin") == message
    assert not Path("z.h5").exists()
    # Where no `-` asks for it, standard input may be what it likes.
    assert run("encode", "-o", "z.h5", terminal="stdin").code == 0


def test_a_terminal_gets_no_binary(model: FaceModel, faces_file: Path) -> None:
    sentence = refusal("encode", terminal="stdout", code=2)
    assert sentence == (
        "Standard output is a terminal and the result is binary: "
        "redirect it (facevae encode > latents.h5) or name a file with -o FILE."
    )


def test_json_and_latents_cannot_share_standard_output(model: FaceModel, faces_file: Path) -> None:
    assert refusal("encode", "--json", code=2) == (
        "The result and JSON cannot both go to standard output: name a file with -o FILE."
    )


def test_missing_files(workspace: Path) -> None:
    assert refusal("encode", "-w", "vae.safetensors") == (
        "There is no vae.safetensors. Check its name and folder, use --weights faces-32 for those shipped, "
        "or train some with: facevae train"
    )
    put_weights(workspace)
    assert refusal("encode") == "There is no faces.h5. Make one with: facevae prepare --celeba-dir DIR"
    assert refusal("encode", "--faces", "other.h5") == (
        "There is no other.h5. Make one with: facevae prepare --celeba-dir DIR"
    )


def test_files_of_another_kind(model: FaceModel, latents_file: Path, faces_file: Path) -> None:
    prepare = "Make one with: facevae prepare --celeba-dir DIR"
    train = "Train some with: facevae train (or name another file with --weights)"
    Path("notes.txt").write_text("just some notes of mine")
    Path("folder").mkdir()
    messages = {
        ("--faces", "latents.h5"): f"latents.h5 holds latents, not prepared faces. {prepare}",
        ("--faces", "vae.safetensors"): f"vae.safetensors is not a file of prepared faces (not HDF5). {prepare}",
        ("--faces", "notes.txt"): f"notes.txt is not a file of prepared faces (not HDF5). {prepare}",
        ("--faces", "folder"): f"folder is a folder, not a file of prepared faces. {prepare}",
        ("-w", "faces.h5"): f"faces.h5 is not a file of VAE weights (not safetensors, or damaged). {train}",
        ("-w", "notes.txt"): f"notes.txt is not a file of VAE weights (not safetensors, or damaged). {train}",
        ("-w", "folder"): f"folder is a folder, not a file of VAE weights. {train}",
    }
    for options, message in messages.items():
        assert refusal("encode", *options) == message
        assert refusal("encode", *options, "-o", "z.h5") == message
    assert not Path("z.h5").exists()


def test_faces_of_another_size(model: FaceModel, faces_file: Path) -> None:
    put_other_weights(Path("large.safetensors"), size=64)
    assert refusal("encode", "-w", "large.safetensors") == (
        "faces.h5 holds faces of 32 x 32 pixels, but large.safetensors takes 64 x 64: "
        "prepare them with --size 64, or name other weights."
    )


def test_inputs_are_not_written_over(model: FaceModel, faces_file: Path) -> None:
    picture = put_pictures(Path("faces"), 1)[0]
    remedy = "is an input and would be overwritten: name another output with -o."
    before = faces_file.read_bytes()
    assert refusal("encode", "-o", "faces.h5", code=2) == f"faces.h5 {remedy}"
    assert refusal("encode", "-o", "./vae.safetensors", code=2) == f"vae.safetensors {remedy}"
    assert refusal("encode", picture, "-o", picture, code=2) == f"faces/face1.png {remedy}"
    assert faces_file.read_bytes() == before


def test_places_that_cannot_be_written(model: FaceModel, faces_file: Path) -> None:
    Path("folder").mkdir()
    assert refusal("encode", "-o", "folder", code=2) == "folder is a folder: name a file to write to."
    assert refusal("encode", "-o", "no/z.h5") == "There is no folder no to write z.h5 into: create it first."


def test_a_failed_run_keeps_the_earlier_latents(model: FaceModel, latents_file: Path) -> None:
    before = latents_file.read_bytes()
    run("encode", "-o", "latents.h5")
    assert latents_file.read_bytes() == before
    assert files() == ["latents.h5", "vae.safetensors"]


def test_the_library_writes_to_any_binary_stream(model: FaceModel, faces_file: Path) -> None:
    from facevae import encode

    stream = io.BytesIO()
    result = encode(output=stream)
    assert (result.count, result.latent_dim, result.skipped) == (60, 6, ())
    Path("z.h5").write_bytes(stream.getvalue())
    with Latents(Path("z.h5")) as latents:
        assert latents.count == 60
