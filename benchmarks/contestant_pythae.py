"""A contestant: pythae's own trainer, run by its own pipeline, on the same network, loss and images.

The images go in as pythae expects them: a float array (N, 3, 32, 32) in [0, 1], converted before the measurement begins.
pythae's VAE has half the summed squared error as its loss; the reference's weight is put in its place, which costs nothing.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from timing import Stopwatch, check_parameters, contestant_arguments, hand_back

try:
    import plain_network
    import torch
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback
except ImportError as error:
    sys.exit(f"{sys.executable} cannot import pythae ({error}): see benchmarks/README.md for how to install it.")


class Encoder(BaseEncoder):
    """The plain network's encoder in pythae's form."""

    def __init__(self) -> None:
        super().__init__()
        self.network = plain_network.Encoder()

    def forward(self, x: torch.Tensor) -> ModelOutput:
        mean, log_variance = self.network(x)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """The plain network's decoder in pythae's form."""

    def __init__(self) -> None:
        super().__init__()
        self.network = plain_network.Decoder()

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.network(z))


class ReferenceVAE(VAE):
    """pythae's VAE with the reference's weight of the reconstruction."""

    def loss_function(self, recon_x: Any, x: Any, mu: Any, log_var: Any, z: Any) -> tuple[Any, Any, Any]:
        kl = -0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp(), dim=-1).mean()
        reconstruction = 2000 * torch.nn.functional.mse_loss(recon_x, x)
        return reconstruction + kl, reconstruction, kl


class Timer(TrainingCallback):
    """Starts the stopwatch after the warm-up and stops it after every later step, so that the last one stands."""

    def __init__(self, watch: Stopwatch, warmup: int) -> None:
        self.watch, self.warmup, self.steps = watch, warmup, 0

    def on_train_step_end(self, training_config: Any, **_: Any) -> None:
        self.steps += 1
        if self.steps == self.warmup:
            self.watch.start()
        elif self.steps > self.warmup:
            self.watch.stop()


def main() -> None:
    """Train one epoch by pythae's pipeline and hand back what came after the warm-up."""
    arguments = contestant_arguments("pythae's trainer.")
    images = np.load(arguments.images).transpose(0, 3, 1, 2).astype(np.float32) / 255
    model = ReferenceVAE(VAEConfig(input_dim=(3, 32, 32), latent_dim=200), encoder=Encoder(), decoder=Decoder())
    check_parameters(plain_network.parameters_of(model))
    watch = Stopwatch()
    config = BaseTrainerConfig(
        output_dir=str(Path.cwd() / "pythae"),
        num_epochs=1,
        learning_rate=5e-4,
        per_device_train_batch_size=arguments.batch,
        no_cuda=True,
    )
    # The saved model is a by-product: pythae would pickle the classes of this file.
    TrainingPipeline(model=model, training_config=config)(train_data=images, callbacks=[Timer(watch, arguments.warmup)])
    versions = {"pythae": version("pythae"), "torch": torch.__version__}
    hand_back(arguments.result, watch.figures(len(images) - arguments.warmup * arguments.batch, versions))


if __name__ == "__main__":
    main()
