"""What holding attributes still is worth: what a judge that the VAE never saw says of the faces, with `keep` and without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facevae.model.judge import JUDGE_SIZE
from facevae.model.latent_space import Floats
from facevae.storage.judge_file import AttributeJudge
from facevae.storage.shipped import shipped_judge
from facevae.storage.weights import FaceModel
from facevae.workflows.moving import Movement

JUDGED_FACES = 200
"""The faces that are looked at, at most: the rest would change little."""
_OTHERS = 2


@dataclass(frozen=True)
class SideEffect:
    """How an attribute's judgement changes from n = 0 to n = 1, in the mean over the faces, without `keep` and with it.

    The judge's logit is above 0 where it sees the attribute; the probability is the logit's logistic function.
    """

    attribute: str
    logit_without_keep: float
    logit: float
    probability_without_keep: float
    probability: float


def side_effects(model: FaceModel, latents: Floats, movement: Movement) -> tuple[SideEffect, ...] | None:
    """Return what moving `latents` (N, latent_dim) by n = 1 changes, of all attributes that the judge knows.

    First the moved attributes and those kept, then the others, those first that change most. None for faces that are too small
    for the judge, and where it knows none of the moved and kept attributes.
    """
    first = [*(attribute.name for attribute in movement.attributes), *movement.kept]
    if model.image_size < JUDGE_SIZE:
        return None
    judge, some = AttributeJudge.load(shipped_judge()), latents[:JUDGED_FACES]
    if not set(first) & set(judge.attribute_names):
        return None
    shifts = (np.zeros_like(movement.delta), movement.delta_without_keep, movement.delta)
    before, without, kept = (judge.look(model.decode(some + shift)).logits.astype(np.float64) for shift in shifts)
    changes = [
        (after - before).mean(axis=0)
        for after, before in (
            (without, before),
            (kept, before),
            (_probability(without), _probability(before)),
            (_probability(kept), _probability(before)),
        )
    ]
    found = [
        SideEffect(name, *map(float, row))
        for name, row in zip(judge.attribute_names, np.stack(changes, axis=1), strict=True)
    ]
    found.sort(key=lambda effect: -max(abs(effect.logit), abs(effect.logit_without_keep)))
    found.sort(key=lambda effect: first.index(effect.attribute) if effect.attribute in first else len(first))
    return tuple(found)


def _probability(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    probability: NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return probability


def side_effects_in_words(effects: Sequence[SideEffect], movement: Movement) -> str:
    """Return the changes of the attributes that are moved or kept, and of the two others that change most, in a line."""
    meant = {attribute.name for attribute in movement.attributes} | set(movement.kept)
    named = sum(effect.attribute in meant for effect in effects)
    told = [
        f"{effect.attribute} {_signed(effect.logit_without_keep)} -> {_signed(effect.logit)}"
        for effect in effects[: named + _OTHERS]
    ]
    return f"What n = 1 changes, as logits of the judge, without --keep -> with it: {', '.join(told)}."


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"
