"""A trial's own random numbers: one seed, independent streams for initial weights, batches and each kind of noise.

Adding a draw to one stream leaves the others as they are. `noise` is that of dropout.
"""

import hashlib
from typing import Literal

import torch

Stream = Literal["weights", "batches", "noise", "augmentation", "gradient_noise", "weight_noise"]

_CPU = torch.device("cpu")


def derive(seed: int, stream: Stream) -> int:
    """The seed of one stream: the first eight bytes of sha256("<seed>/<stream>")."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:8], "big")


def signed(seed: int, stream: Stream) -> int:
    """The bits of `derive` as a number that int64 holds."""
    number = derive(seed, stream)
    return number - 2**64 if number >= 2**63 else number


def generator(seed: int, stream: Stream, device: torch.device = _CPU) -> torch.Generator:
    """A stream of its own; on the CPU by default, so that batches do not depend on the device."""
    return torch.Generator(device).manual_seed(derive(seed, stream))


def seed_global(seed: int, stream: Stream, device: torch.device) -> None:
    """Makes the generators that torch's initialisers and dropout draw from start this stream."""
    number = derive(seed, stream)
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number)
