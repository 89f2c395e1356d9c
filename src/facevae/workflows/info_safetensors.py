"""VAE and upscaler weights and checkpoints described, for `info`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from facevae.model.prior import LatentPrior
from facevae.storage import checkpoint, upscaler_checkpoint, upscaler_file, weights
from facevae.storage.upscaler_file import Upscaler
from facevae.storage.weights import FaceModel
from facevae.workflows.info_facts import FileInfo, Made, in_one_line, plain, words


def safetensors_info(path: Path) -> Made:
    """Describe a safetensors file.

    Raises:
        DataError: it is damaged, or none of facevae's.
    """
    try:
        with safe_open(str(path), framework="np") as file:
            header = file.metadata() or {}
    except SafetensorError:
        header = {}
    found, command = header.get("format"), header.get("command")
    if found == upscaler_file.FORMAT:
        with checkpoint.damaged_as_data_error(path, upscaler_file.REMEDY):
            return Made(_upscaler_info(path), command)
    if found == upscaler_checkpoint.FORMAT:
        return Made(_upscaler_checkpoint_info(path), command)
    if found == checkpoint.FORMAT:
        return Made(_checkpoint_info(path), command)
    with checkpoint.damaged_as_data_error(path, weights.REMEDY):
        return Made(_weights_info(path), command)


def _checkpoint_info(path: Path) -> FileInfo:
    found = checkpoint.load_checkpoint(path)
    training = found.train.to_dict()
    facts = {
        "epochs finished": str(found.epoch),
        "steps into the next": str(found.step),
        "trained for": f"{found.seconds:.0f} s",
        **words(training),
        "faces": found.faces_fingerprint,
    }
    values = {
        "network": plain(found.model.to_dict()),
        **_progress(found.epoch, found.step, found.seconds),
        "training": plain(training),
        "faces_fingerprint": found.faces_fingerprint,
    }
    return FileInfo(path, "training checkpoint", facts, (), values)


def _progress(epoch: int, step: int, seconds: float) -> dict[str, Any]:
    return {"epochs_finished": plain(epoch), "steps_into_next": plain(step), "seconds": plain(seconds)}


def _upscaler_checkpoint_info(path: Path) -> FileInfo:
    found = upscaler_checkpoint.load_upscaler_checkpoint(path)
    network, training = found.network.to_dict(), found.train.to_dict()
    facts = {
        "network": in_one_line(network),
        "epochs finished": str(found.epoch),
        "steps into the next": str(found.step),
        "trained for": f"{found.seconds:.0f} s",
        **words(training),
        "faces": found.faces_fingerprint,
        **({"reconstructions by": found.vae} if found.vae else {}),
    }
    values = {
        "network": plain(network),
        **_progress(found.epoch, found.step, found.seconds),
        "training": plain(training),
        "faces_fingerprint": found.faces_fingerprint,
        "vae": found.vae or None,
    }
    return FileInfo(path, "upscaler checkpoint", facts, (), values)


def _upscaler_info(path: Path) -> FileInfo:
    upscaler = Upscaler.load(path)
    training = {name: value for name, value in upscaler.training.items() if name not in ("inputs", "valid", "versions")}
    network, versions = upscaler.network.config.to_dict(), upscaler.training.get("versions")
    parameters, valid = _parameters(upscaler.network), _gain(upscaler.training.get("valid"))
    facts = {
        "network": f"VDSR, {in_one_line(network)}",
        "parameters": f"{parameters:,}",
        "enlarges": upscaler.inputs,
        **_gain_in_words(valid),
        **words(training),
    }
    if isinstance(versions, dict):
        facts["made by"] = in_one_line(versions)
    values = {
        "network": plain(network),
        "parameters": parameters,
        "enlarges": upscaler.inputs,
        "valid": plain(valid),
        "training": plain(training),
        "versions": plain(versions) if isinstance(versions, dict) else {},
    }
    return FileInfo(path, "upscaler weights", facts, (), values)


def _parameters(network: Any) -> int:  # noqa: ANN401 - a module of PyTorch
    return sum(parameter.numel() for parameter in network.parameters())


def _gain(valid: Any) -> dict[str, Any] | None:  # noqa: ANN401 - from a file
    """Return what held-out faces gained, if the file says it."""
    names = ("gain", "psnr", "faces")
    if not isinstance(valid, dict) or not all(isinstance(valid.get(name), int | float) for name in names):
        return None
    return {name: valid[name] for name in names}


def _gain_in_words(valid: dict[str, Any] | None) -> dict[str, str]:
    if valid is None:
        return {}
    gain, psnr, faces = valid.values()
    return {"gain": f"{gain:+.2f} dB of luma over bicubic, to {psnr:.2f} dB, on {faces:,} held-out faces"}


def _prior_in_words(prior: LatentPrior | None) -> str:
    if prior is None:
        return "none fitted: sample draws from N(0, I)"
    return "fitted, one Gaussian" if prior.components == 1 else f"fitted, a mixture of {prior.components} Gaussians"


def _weights_info(path: Path) -> FileInfo:
    model = FaceModel.load(path)
    training = dict(model.training)
    losses, versions = training.pop("losses", {}), training.pop("versions", {})
    network, parameters, digest = model.vae.config.to_dict(), _parameters(model.vae), model.hash()
    facts = {
        "network": in_one_line(network),
        "parameters": f"{parameters:,}",
        "weights hash": digest,
        "prior": _prior_in_words(model.prior),
        **words(training),
        **{
            f"last {split} loss": f"{value['loss']:.2f} (reconstruction {value['reconstruction']:.2f}, "
            f"KL {value['kl']:.2f}, MSE {value['mse']:.5f})"
            for split, value in losses.items()
        },
        "made by": ", ".join(f"{name} {value}" for name, value in versions.items()),
    }
    values = {
        "network": plain(network),
        "parameters": parameters,
        "weights_hash": digest,
        "prior": {"components": int(model.prior.components)} if model.prior is not None else None,
        "training": plain(training),
        "losses": plain(losses),
        "versions": plain(versions),
    }
    return FileInfo(path, "VAE weights", facts, _attribute_rows(model), values)


def _attribute_rows(model: FaceModel) -> tuple[tuple[str, int, int, float | None], ...]:
    if model.directions is None:
        return ()
    lengths = np.linalg.norm(model.directions.deltas.astype(np.float64), axis=1)
    columns = (model.attribute_names, model.directions.positive, model.directions.negative, lengths)
    return tuple((name, int(a), int(b), float(length)) for name, a, b, length in zip(*columns, strict=True))
