"""A contestant: the plain PyTorch idiom. A `Dataset` of decoded uint8 images, a `DataLoader`, fp32, Adam, `loss.item()`.

The images of the warm-up and those measured are two data sets, so that the processor time of the loader's worker processes,
which is known once they have ended, is that of the measured images alone.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from plain_network import VAE, loss_of, parameters_of
from timing import Stopwatch, check_parameters, contestant_arguments, hand_back
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class FacesInMemory(Dataset[Tensor]):
    """Item i is image i as a float tensor (3, S, S) in [0, 1], as torchvision's `ToTensor` makes it."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self.images[index]).permute(2, 0, 1).contiguous().float() / 255


def train_epoch(
    model: VAE, optimizer: torch.optim.Optimizer, images: NDArray[np.uint8], batch: int, workers: int, device: str
) -> float:
    """Train on each of `images` once and return the mean loss."""
    loader = DataLoader(FacesInMemory(images), batch_size=batch, shuffle=True, num_workers=workers)
    total = 0.0
    model.train()
    for loaded in loader:
        faces = loaded.to(device)
        loss = loss_of(faces, *model(faces))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.item()
    return total / len(loader)


def main() -> None:
    """Warm up, measure, hand back."""
    arguments = contestant_arguments(
        "The plain PyTorch idiom.",
        ("--workers", {"type": int, "default": 0, "help": "of the DataLoader"}),
        ("--device", {"default": "cpu"}),
    )
    images = np.load(arguments.images)
    model = VAE().to(arguments.device)
    check_parameters(parameters_of(model))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    rest = (arguments.batch, arguments.workers, arguments.device)
    first = arguments.warmup * arguments.batch
    if first:
        train_epoch(model, optimizer, images[:first], *rest)
    watch = Stopwatch()
    watch.start()
    loss = train_epoch(model, optimizer, images[first:], *rest)
    watch.stop()
    hand_back(arguments.result, {**watch.figures(len(images) - first, {"torch": torch.__version__}), "loss": loss})


if __name__ == "__main__":
    main()
