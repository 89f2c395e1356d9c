"""The three networks of MTCNN (Zhang, Zhang, Li & Qiao, *Joint Face Detection and Alignment Using Multitask Cascaded
Convolutional Networks*, 2016, figure 2): each takes square windows, says whether there is a face, and corrects its box.

The first is convolutional throughout, so that it looks at every window of a picture at once; the last also gives five landmarks.
The poolings round up, as Caffe's do, for which the networks were trained. Images come in as RGB in [-1, 1), see `normalised`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from facevae.model.frame_network import FrameNetwork

PROPOSAL_SIDE, PROPOSAL_STRIDE = 12, 2
"""The windows of the proposal network: their side, and how far they lie apart, in pixels."""
LANDMARKS = 5


class Seen(NamedTuple):
    """What a network says of N windows.

    Attributes:
        score: float (N,), the probability of a face.
        shift: float (N, 4), what to add to left, top, right and bottom, in parts of the window's width and height.
        landmarks: float (N, K, 2), x and y in parts of the window, from its top left; K is 5, or 0 of the refine network.
    """

    score: Tensor
    shift: Tensor
    landmarks: Tensor


def normalised(pixels: Tensor) -> Tensor:
    """Return uint8 or float pixels of 0 to 255 as the networks take them."""
    return (pixels.float() - 127.5) / 128.0


class ProposalNetwork(nn.Module):
    """P-Net, which looks at all windows of 12 x 12 pixels of a picture, two pixels apart."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 10, 3), nn.PReLU(10), nn.MaxPool2d(2, 2, ceil_mode=True),
            nn.Conv2d(10, 16, 3), nn.PReLU(16),
            nn.Conv2d(16, 32, 3), nn.PReLU(32),
        )  # fmt: skip
        self.shift = nn.Conv2d(32, 4, 1)
        self.face = nn.Conv2d(32, 2, 1)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Return `(scores (h, w), shifts (4, h, w))` of a normalised picture (1, 3, H, W) of at least 12 x 12 pixels."""
        maps = self.layers(picture)
        return torch.softmax(self.face(maps), dim=1)[0, 1], self.shift(maps)[0]


class WindowNetwork(nn.Module):
    """R-Net or O-Net: convolutions, a dense layer, and one linear layer for each answer.

    Attributes:
        side: of the windows that it takes, in pixels.
    """

    def __init__(self, side: int, layers: list[nn.Module], features: int, landmarks: int) -> None:
        super().__init__()
        self.side = side
        self.layers = nn.Sequential(*layers)
        self.shift = nn.Linear(features, 4)
        self.landmarks = nn.Linear(features, 2 * landmarks) if landmarks else None
        self.face = nn.Linear(features, 2)

    def forward(self, windows: Tensor) -> Seen:
        """Return what the network says of normalised windows (N, 3, side, side)."""
        features = self.layers(windows)
        score = torch.softmax(self.face(features), dim=1)[:, 1]
        by_axis = features.new_empty(len(features), 0) if self.landmarks is None else self.landmarks(features)
        points = by_axis.view(len(features), 2, by_axis.shape[1] // 2).transpose(1, 2)  # all x come first, then all y
        return Seen(score, self.shift(features), points)


def refine_network() -> WindowNetwork:
    """Make R-Net, which takes windows of 24 x 24 pixels."""
    layers = [
        nn.Conv2d(3, 28, 3), nn.PReLU(28), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(28, 48, 3), nn.PReLU(48), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(48, 64, 2), nn.PReLU(64),
        nn.Flatten(), nn.Linear(64 * 3 * 3, 128), nn.PReLU(128),
    ]  # fmt: skip
    return WindowNetwork(24, layers, 128, landmarks=0)


def output_network() -> WindowNetwork:
    """Make O-Net, which takes windows of 48 x 48 pixels and finds landmarks in them."""
    layers = [
        nn.Conv2d(3, 32, 3), nn.PReLU(32), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(32, 64, 3), nn.PReLU(64), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(64, 64, 3), nn.PReLU(64), nn.MaxPool2d(2, 2, ceil_mode=True),
        nn.Conv2d(64, 128, 2), nn.PReLU(128),
        nn.Flatten(), nn.Linear(128 * 3 * 3, 256), nn.PReLU(256),
    ]  # fmt: skip
    return WindowNetwork(48, layers, 256, landmarks=LANDMARKS)


class FaceNetworks(NamedTuple):
    """All that finds faces, in evaluation mode on the processor: `storage.detector_weights.load_face_networks` makes one.

    Attributes:
        proposal: the first network of the cascade.
        refine: the second.
        output: the third, which finds landmarks.
        frame: brings the faces that were found nearer to CelebA's frame; without it they stay where the landmarks put them.
    """

    proposal: ProposalNetwork
    refine: WindowNetwork
    output: WindowNetwork
    frame: FrameNetwork | None = None
