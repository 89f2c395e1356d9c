"""The reference's network as one writes it in a notebook: PyTorch's defaults, no thought given to speed.

Written apart from facevae's own on purpose: it is what that one is compared with.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LATENTS = 200
WIDTH = 128


class Encoder(nn.Module):
    """Images (B, 3, 32, 32) to the mean and log-variance of the posterior, each (B, 200)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (3, WIDTH, WIDTH, WIDTH):
            layers += [
                nn.Conv2d(inputs, WIDTH, kernel_size=3, stride=2, padding=1),
                nn.BatchNorm2d(WIDTH),
                nn.LeakyReLU(0.3),
            ]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.mean = nn.Linear(WIDTH * 2 * 2, LATENTS)
        self.log_variance = nn.Linear(WIDTH * 2 * 2, LATENTS)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(images)
        return self.mean(features), self.log_variance(features)


class Decoder(nn.Module):
    """Latents (B, 200) to images (B, 3, 32, 32) in (0, 1)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Linear(LATENTS, WIDTH * 2 * 2),
            nn.BatchNorm1d(WIDTH * 2 * 2),
            nn.LeakyReLU(0.3),
            nn.Unflatten(1, (WIDTH, 2, 2)),
        ]
        for _ in range(4):
            layers += [
                nn.ConvTranspose2d(WIDTH, WIDTH, kernel_size=3, stride=2, padding=1, output_padding=1),
                nn.BatchNorm2d(WIDTH),
                nn.LeakyReLU(0.3),
            ]
        layers += [nn.ConvTranspose2d(WIDTH, 3, kernel_size=3, padding=1), nn.Sigmoid()]
        self.body = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        images: Tensor = self.body(latents)
        return images


class VAE(nn.Module):
    """The two of them, with a sample between."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(images)
        latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.decoder(latents), mean, log_variance


def loss_of(images: Tensor, reconstruction: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return 2000 times the mean squared error plus the KL divergence: the reference's loss."""
    kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp(), dim=1)
    return 2000 * nn.functional.mse_loss(reconstruction, images) + kl.mean()


def parameters_of(module: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
