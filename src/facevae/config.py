"""The single home of every default: frozen dataclasses and names, standard library only.

The numbers are those of the reference (Foster, *Generative Deep Learning*, 2nd ed., chapter 3, and the note that trained it
on CelebA); `docs/design.md` says where facevae departs from it and why.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from facevae.errors import UsageError

# The workspace: fixed names in the current directory, so that stages find each other's files.
FACES_FILE = Path("faces.h5")
WEIGHTS_FILE = Path("vae.safetensors")
LATENTS_FILE = Path("latents.h5")
SAMPLES_FILE = Path("samples.png")
SAMPLES_DIRECTORY = Path("samples")
RECONSTRUCTIONS_FILE = Path("reconstructions.png")
MORPH_FILE = Path("morph.png")
PASTED_STEM = "{}-morph"
"""Of the photograph with an edit in it, from that of the photograph."""
INTERPOLATION_FILE = Path("interpolation.png")
AVERAGE_FILE = Path("average.png")
UMAP_FILE = Path("umap.png")
MAP_FILE = Path("map.h5")
ALIGNED_DIRECTORY = Path("aligned")
ACTIVATIONS_DIRECTORY = Path("activations")
DEMO_DIRECTORY = Path("facevae-demo")

DEFAULT_ATTRIBUTE = "Attractive"
SAMPLE_COUNT = 40
"""The note shows 40 random faces."""
RECONSTRUCT_COUNT = 10
MORPH_STEPS = "-3,3"
PASTE_STEPS = "1"
DIRECTIONS = ("mean", "logistic", "regression")
"""Ways to say which way an attribute is, see `facevae.model.directions`. The first is the default."""
NEIGHBOURS_COUNT = 8
METRICS = ("cosine", "euclidean")
"""How far apart two latents are: one minus the cosine of the angle at the origin, from 0 to 2, or the length between them."""
PRIOR_NAMES = ("auto", "fitted", "normal")
"""What faces are drawn from: the fitted prior, N(0, I), or the fitted one where there is one."""
PICTURE_FORMATS = ("png", "gif", "webp", "apng", "mp4")
"""A strip, and the animations."""
EXPORT_FORMATS = ("csv", "npz", "parquet")
EVERY_FACE = "all"
"""As `--face`, every face of a picture."""
DEMO_FACES = 3000
EXPLORE_FACES = 5000
"""Random faces on the map where there are no latents."""
EXPLORE_HOST = "127.0.0.1"
EXPLORE_PORT = 8724
EXPLORE_THREADS = "facevae-explorer"
"""What the names of the server's threads begin with: the end of the program does not wait for them."""
PICTURE_SCALE = 3
"""Faces are shown enlarged this many times, 32 -> 96 as in the note."""
ENCODE_BATCH = 512

SplitName = Literal["train", "valid", "test", "all"]
SPLIT_NAMES: tuple[str, ...] = get_args(SplitName)
SPLIT_CODES: dict[str, int] = {"train": 0, "valid": 1, "test": 2}
"""CelebA's own numbers in `list_eval_partition.txt`."""

EVALUATED_SPLITS: tuple[SplitName, ...] = ("valid", "test")
"""Those that weights are not trained on."""

DEVICES = ("auto", "cpu", "cuda", "mps")

PRECISIONS = ("auto", "fp32", "bf16")

ScheduleName = Literal["constant", "cosine"]
SCHEDULE_NAMES: tuple[str, ...] = get_args(ScheduleName)

OptimizerName = Literal["adam", "muon"]
OPTIMIZER_NAMES: tuple[str, ...] = get_args(OptimizerName)

_COSINE_WARMUP = 0.05
"""The part of a training with the cosine schedule in which the learning rate rises, where nothing else is asked for."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(message)


def _is_whole(value: object) -> bool:
    """Whether this is a whole number, which to Python a truth value is, too."""
    return isinstance(value, int) and not isinstance(value, bool)


def fits_network(size: int) -> bool:
    """Whether the network takes images of `size` pixels a side: a power of two from 16 to 512."""
    return _is_whole(size) and 16 <= size <= 512 and size & (size - 1) == 0


def check_face_size(size: int) -> None:
    """Raise a `UsageError` unless faces can be prepared with `size` pixels a side: a whole number from 16 to 512."""
    _require(
        _is_whole(size) and 16 <= size <= 512,
        f"A size of {size} pixels is out of range: use a whole number from 16 to 512, such as 32 or 64.",
    )


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the network. The defaults are the reference: 32x32 RGB, 128 channels, 200 latent dimensions.

    `negative_slope` is that of the leaky ReLU and `norm_epsilon` that of batch normalisation: Keras' defaults, which the
    reference uses (PyTorch's own are 0.01 and 1e-5).
    """

    image_size: int = 32
    channels: int = 128
    latent_dim: int = 200
    negative_slope: float = 0.3
    norm_epsilon: float = 1e-3

    def __post_init__(self) -> None:
        size = self.image_size
        _require(
            fits_network(size),
            f"An image size of {size} does not fit the network: use a power of two from 16 to 512, such as 32 or 64.",
        )
        _require(
            _is_whole(self.channels) and 1 <= self.channels <= 4096,
            f"A width of {self.channels} channels is out of range: use a whole number from 1 to 4096 (reference: 128).",
        )
        _require(
            _is_whole(self.latent_dim) and 1 <= self.latent_dim <= 65536,
            f"A latent dimension of {self.latent_dim} is out of range: "
            "use a whole number from 1 to 65536 (reference: 200).",
        )
        _require(
            0.0 <= self.negative_slope < 1.0,
            f"A leaky ReLU slope of {self.negative_slope} is out of range: use a number from 0 up to 1 (reference: 0.3).",
        )
        _require(self.norm_epsilon > 0.0, f"A batch norm epsilon of {self.norm_epsilon} is not positive.")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain dictionary, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Build from `to_dict`'s result; unknown keys are refused with a `UsageError`."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        _require(not unknown, f"The model configuration has unknown entries: {', '.join(unknown)}.")
        return cls(**values)


@dataclass(frozen=True)
class TrainConfig:
    """How to train. The defaults are the reference run; `train` itself begins with a recipe, see `RECIPES`.

    The loss of one image is `reconstruction_weight` x (mean squared error over its pixels and colours, in [0, 1])
    + `kl_weight` x (KL divergence in nats, summed over the latent units).

    `reconstruction_weight` matters more than any other number here. At 1 (an unweighted mean beside a summed KL) the posterior
    collapses and every reconstruction is the same grey face. The reference's 2000 keeps a dozen of 200 units active on 32x32
    faces, with soft reconstructions and faint edits; 20 times that keeps them all, and random samples get rougher.

    `schedule` says what becomes of the learning rate, see `facevae.model.schedule`; `warmup` is how many epochs it rises first,
    None for the schedule's own default, see `warmup_epochs`. `patience` ends the training after that many epochs without a lower
    loss on valid; 0 never does. `precision` is that of the convolutions, see `facevae.model.precision`. `flip` mirrors each
    image, left to right, in half of the epochs on average. `optimizer` is Adam, or Muon with Adam for what is no matrix, see
    `facevae.model.muon`. `focus` is how much more the middle of the face weighs in the mean squared error than the corners, 0 for
    not at all, see `facevae.model.losses`.
    """

    epochs: int = 10
    batch_size: int = 500
    learning_rate: float = 5e-4
    reconstruction_weight: float = 2000.0
    kl_weight: float = 1.0
    seed: int = 0
    split: SplitName = "train"
    schedule: ScheduleName = "constant"
    warmup: float | None = None
    patience: int = 0
    precision: str = "auto"
    flip: bool = False
    optimizer: OptimizerName = "adam"
    focus: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "seed", "patience"):
            value = getattr(self, name)
            _require(_is_whole(value), f"The {name.replace('_', ' ')} {value} is not a whole number.")
        _require(self.epochs >= 1, f"{self.epochs} epochs are too few: use a whole number of at least 1.")
        _require(
            self.batch_size >= 2,
            f"A batch size of {self.batch_size} is too small: batch normalisation needs at least 2 images.",
        )
        _require(self.batch_size <= 10**6, f"A batch size of {self.batch_size} is out of range: use at most 1000000.")
        for name in ("learning_rate", "reconstruction_weight"):
            value = getattr(self, name)
            _require(
                0.0 < value < float("inf"),
                f"A {name.replace('_', ' ')} of {value} is out of range: use a number above 0.",
            )
        _require(
            0.0 <= self.kl_weight < float("inf"),
            f"A KL weight of {self.kl_weight} is out of range: use a number from 0 on.",
        )
        _require(
            0 <= self.seed < 2**63, f"A seed of {self.seed} is out of range: use a whole number from 0 to 2^63 - 1."
        )
        _require(self.split in SPLIT_NAMES, f"There is no split {self.split}: use one of {', '.join(SPLIT_NAMES)}.")
        _require(
            self.schedule in SCHEDULE_NAMES,
            f"There is no schedule {self.schedule}: use one of {', '.join(SCHEDULE_NAMES)}.",
        )
        _require(
            0.0 <= self.focus <= 1000.0,
            f"A focus of {self.focus} is out of range: use a number from 0 to 1000, such as 6.",
        )
        _require(
            self.optimizer in OPTIMIZER_NAMES,
            f"There is no optimizer {self.optimizer}: use one of {', '.join(OPTIMIZER_NAMES)}.",
        )
        _require(
            self.warmup is None or 0.0 <= self.warmup < self.epochs,
            f"A warm-up of {self.warmup} epochs is out of range: use a number from 0 up to the {self.epochs} of the training.",
        )
        _require(
            self.patience >= 0,
            f"A patience of {self.patience} epochs is out of range: use a whole number from 1, or 0 for none.",
        )
        _require(
            self.precision in PRECISIONS,
            f"There is no precision {self.precision}: use one of {', '.join(PRECISIONS)}.",
        )

    @property
    def warmup_epochs(self) -> float:
        """How many epochs the learning rate rises: as asked for, or a twentieth of a cosine training and nothing else."""
        if self.warmup is not None:
            return self.warmup
        return _COSINE_WARMUP * self.epochs if self.schedule == "cosine" else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain dictionary, for JSON."""
        return asdict(self)


RECIPES: dict[str, TrainConfig] = {
    "detail": TrainConfig(
        batch_size=128,
        learning_rate=2e-3,
        reconstruction_weight=200_000.0,
        schedule="cosine",
        flip=True,
        optimizer="muon",
        focus=10.0,
    ),
    "note": TrainConfig(),
}
"""Ways to train, by name: "note" is the reference run, "detail" the one that `docs/weights.md` chooses."""

DEFAULT_RECIPE = "detail"


# The upscaler.
UPSCALER_FILE = Path("upscaler.safetensors")
RECONSTRUCTIONS_UPSCALER_FILE = Path("upscaler-reconstructions.safetensors")
UPSCALER_FACES_FILE = Path("faces-96.h5")
UPSCALER_FACES_SIZE = 96
UPSCALE_FACTORS = (2, 3, 4)
UPSCALE_FACTOR = 3

UpscalerInputs = Literal["photographs", "reconstructions"]
UPSCALER_INPUTS: tuple[str, ...] = get_args(UpscalerInputs)


@dataclass(frozen=True)
class UpscalerConfig:
    """The shape of VDSR (Kim, Lee & Lee 2016): 20 convolutions of 3x3, 64 channels."""

    depth: int = 20
    channels: int = 64

    def __post_init__(self) -> None:
        _require(
            _is_whole(self.depth) and 2 <= self.depth <= 100,
            f"A depth of {self.depth} convolutions is out of range: use a whole number from 2 to 100 (paper: 20).",
        )
        _require(
            _is_whole(self.channels) and 1 <= self.channels <= 1024,
            f"A width of {self.channels} channels is out of range: use a whole number from 1 to 1024 (paper: 64).",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain dictionary, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class UpscalerTrainConfig:
    """How to train the upscaler. An epoch takes one patch of each face.

    `inputs` says what it learns to enlarge: photographs that were reduced, or the VAE's reconstructions of them. `patch_size` is
    the side of a patch in pixels after the enlargement. `factors` are shared out over the patches of a step. The learning rate
    rises over a twentieth of the training and then falls along a cosine, see `facevae.model.schedule`.
    """

    inputs: UpscalerInputs = "photographs"
    epochs: int = 20
    batch_size: int = 32
    patch_size: int = 48
    learning_rate: float = 5e-4
    factors: tuple[int, ...] = UPSCALE_FACTORS
    seed: int = 0
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patch_size", "seed"):
            value = getattr(self, name)
            _require(_is_whole(value), f"The {name.replace('_', ' ')} {value} is not a whole number.")
        _require(
            self.inputs in UPSCALER_INPUTS,
            f"There are no inputs {self.inputs}: use one of {', '.join(UPSCALER_INPUTS)}.",
        )
        _require(self.epochs >= 1, f"{self.epochs} epochs are too few: use a whole number of at least 1.")
        _require(
            1 <= self.batch_size <= 10**6,
            f"A batch size of {self.batch_size} is out of range: use a whole number from 1 to 1000000.",
        )
        _require(
            12 <= self.patch_size <= 512,
            f"A patch size of {self.patch_size} is out of range: use a whole number from 12 to 512, such as 48.",
        )
        _require(
            0.0 < self.learning_rate < float("inf"),
            f"A learning rate of {self.learning_rate} is out of range: use a number above 0.",
        )
        _require(
            len(self.factors) > 0 and set(self.factors) <= set(UPSCALE_FACTORS),
            f"The factors {self.factors} are out of range: use some of {', '.join(map(str, UPSCALE_FACTORS))}.",
        )
        _require(
            0 <= self.seed < 2**63, f"A seed of {self.seed} is out of range: use a whole number from 0 to 2^63 - 1."
        )
        _require(
            self.precision in PRECISIONS,
            f"There is no precision {self.precision}: use one of {', '.join(PRECISIONS)}.",
        )

    @property
    def schedule(self) -> ScheduleName:
        """Of the learning rate."""
        return "cosine"

    @property
    def warmup_epochs(self) -> float:
        """How many epochs the learning rate rises."""
        return _COSINE_WARMUP * self.epochs

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain dictionary, for JSON."""
        return asdict(self)
