"""What `--keep` and `--direction` do:  python benchmarks/keep.py faces.h5 --attr Attractive --keep Male

Moves faces of the valid split along an attribute, by every kind of direction, and lets a judge look: the mean change of its
probability, and of its logit in standard deviations of that logit over the real faces, for the attribute and for those kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import facevae
from facevae.config import DIRECTIONS
from facevae.workflows.common import load_model
from facevae.workflows.evaluate import load_judge
from facevae.workflows.moving import open_directions

STEPS = (1.0, 2.0, -1.0, -2.0)
Doubles = NDArray[np.float64]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("faces", type=Path, help="prepared faces with a valid split")
    parser.add_argument("--attr", default="Attractive", help="the attribute to move along")
    parser.add_argument("--keep", default="Male", help="the attributes to hold still, with commas between them")
    parser.add_argument("--weights", default="faces-32", help="the weights file")
    parser.add_argument("--latents", type=Path, help="latents of the training faces, for real logistic regressions")
    parser.add_argument("--judge", type=Path, help="the judge, by default facevae's own")
    parser.add_argument("--count", type=int, default=1000, help="of how many faces")
    arguments = parser.parse_args()

    model, judge = load_model(arguments.weights, "cpu", print), load_judge(arguments.judge)
    with facevae.Faces(arguments.faces) as faces:
        real = faces.images_of("valid")
    rows = np.random.default_rng(0).permutation(len(real))[: arguments.count]
    latents, _ = model.encode(real[rows])
    kept: list[str] = arguments.keep.split(",")
    kept_or_not: tuple[list[str], ...] = ([], kept)
    columns = [judge.attribute_names.index(name) for name in (arguments.attr, *kept)]
    spread = judge.look(real).logits[:, columns].astype(np.float64).std(axis=0)

    def judged(moved: NDArray[np.floating]) -> Doubles:
        found: Doubles = judge.look(model.decode(moved.astype(np.float32))).logits[:, columns].astype(np.float64)
        return found

    before = judged(latents)
    print(f"{len(latents)} faces. {arguments.attr}, then {arguments.keep}: probability (logit in deviations ± error)")
    with open_directions(model, arguments.latents) as directions:
        for kind in DIRECTIONS:
            for keep in kept_or_not:
                found = directions.direction(arguments.attr, keep, kind)
                title = f"{kind}{', keep ' + arguments.keep if keep else ''}"
                print(f"{title}, |delta| {np.linalg.norm(found.vector):.2f}, share {found.share:.0%}", flush=True)
                for step in STEPS:
                    after = judged(latents + step * found.vector)
                    shift = (probability(after) - probability(before)).mean(axis=0)
                    logits = (after - before) / spread
                    error = logits.std(axis=0, ddof=1) / len(logits) ** 0.5
                    figures = zip(shift, logits.mean(axis=0), error, strict=True)
                    print(
                        f"  n = {step:+g}",
                        *(f"{p:+.3f} ({m:+.3f} ± {e:.3f})" for p, m, e in figures),
                        sep="   ",
                        flush=True,
                    )


def probability(logits: Doubles) -> Doubles:
    """Return the logistic function."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


if __name__ == "__main__":
    main()
