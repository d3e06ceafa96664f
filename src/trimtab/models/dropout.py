"""Dropout whose mask is a pure function of a key and of a unit's position: no generator, no state.

torch's dropout draws from a global generator, so that a mask depends on all that was drawn before. Here trials that are
trained together drop exactly what each would drop alone, on any device, and a step can be repeated.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

_GOLDEN = -7046029254386353131  # 2^64 / golden ratio, odd: splitmix64's stride (Steele et al. 2014), as a signed number
_STRIDES = (73244475, 295559667, 1103515245, 1664525013)  # odd, one per dimension of a position


Room = tuple[Tensor, ...]
MOST_PLACES = 1024
"""Dropout layers of a network: a step's keys begin so many numbers after those of the step before."""


def keys(seed: Tensor, step: int | Tensor, places: int) -> Tensor:
    """(…) int64 seeds → (…, places) int32 keys of one step, by splitmix64; of one step each if it is (…, 1)."""
    number = torch.arange(places, device=seed.device) + step * MOST_PLACES + 1
    x = seed.unsqueeze(-1) + number * _GOLDEN
    x = (x ^ _shifted(x, 30)) * -4658895280553007687
    x = (x ^ _shifted(x, 27)) * -7723592293110705685
    return (x ^ _shifted(x, 31)).to(torch.int32)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right of int64; torch's is arithmetic."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


@lru_cache(maxsize=64)
def positions(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """(*shape) int32, well mixed; a position's number does not depend on the shape that it is in. Not to be changed."""
    total = torch.zeros(shape, dtype=torch.int32, device=device)
    for dimension, length in enumerate(shape):
        along = torch.arange(length, dtype=torch.int32, device=device) * _STRIDES[dimension]
        total += along.view([-1 if d == dimension else 1 for d in range(len(shape))])
    total.bitwise_xor_((total >> 16).bitwise_and_(0xFFFF))
    return _mixed(total).bitwise_xor_((total >> 16).bitwise_and_(0xFFFF))


def mask(key: Tensor, where: Tensor, rate: Tensor) -> Tensor:
    """What units are multiplied with: 0 with probability `rate`, else 1 / (1 − rate).

    Args:
        key: int32, broadcasts against `where`.
        where: int32 `positions`.
        rate: broadcasts against them as well; float32 has 24 bits, which moves it by 2^-24 at most.
    """
    return mask_of(key, where, *thresholds(rate))


def thresholds(rate: Tensor) -> tuple[Tensor, Tensor]:
    """What `mask_of` takes for a rate: the number below which a unit drops, and what others are multiplied with."""
    return rate * 4294967296.0 - 2147483648.0, 1.0 / (1.0 - rate)


def mask_of(key: Tensor, where: Tensor, least: Tensor, factor: Tensor, room: Room | None = None) -> Tensor:
    """See `mask`; with `room` in that memory, the last of it being what is returned, which `vmap` cannot do."""
    numbers, spare, drawn = room or (None, None, None)
    numbers = _mixed(torch.bitwise_xor(where, key, out=numbers), spare)
    if drawn is None:
        return torch.ge(numbers.float(), least) * factor
    return torch.ge(drawn.copy_(numbers), least, out=drawn).mul_(factor)


def rooms(shape: Sequence[int], device: torch.device) -> Room:
    """Memory for masks of a shape: to ask for it anew each time takes as long as half of them."""
    return tuple(torch.empty(shape, dtype=kind, device=device) for kind in (torch.int32, torch.int32, torch.float32))


def _mixed(x: Tensor, spare: Tensor | None = None) -> Tensor:
    """A bijection of int32 whose high bits hang on all of `x`, if that is mixed already; in place.

    The inner half of lowbias32 (Wellons 2018): the outer shifts are for numbers that are not mixed, and for low bits.
    """
    x.mul_(0x7FEB352D)
    shifted = torch.bitwise_right_shift(x, 15, out=spare)
    return x.bitwise_xor_(shifted.bitwise_and_(0x1FFFF)).mul_(-2073254261)


def is_dropout(layer: nn.Module) -> bool:
    """Whether it is torch's dropout."""
    return isinstance(layer, nn.Dropout | nn.Dropout1d | nn.Dropout2d)


def replace(module: nn.Module, names: Collection[str] | None = None) -> list["Dropout"]:
    """Makes torch's dropout inside `module` stateless; its `Dropout` layers, in the order of `modules()`.

    Args:
        module: changed in place.
        names: of the layers to replace; None for those that drop at all.
    """
    layers = [(path, layer) for path, layer in module.named_modules() if is_dropout(layer)]
    found = []
    for place, (path, layer) in enumerate(layers):
        if path in names if names is not None else layer.p:
            parent, _, name = path.rpartition(".")
            found.append(Dropout(layer.p, place, channels=not isinstance(layer, nn.Dropout)))
            setattr(module.get_submodule(parent), name, found[-1])
    return found


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) of single units, or of whole channels.

    Args:
        p: probability with which a unit is zeroed during training.
        place: its number among the network's dropout layers, those included that drop nothing.
        channels: zero whole channels of (batch, channels, …).

    Attributes:
        key: () int32; set before each step by whoever trains.
        alone: whether `p` holds for all that pass here; not so in a stack of networks, where `rate` does.
    """

    alone = True

    key: Tensor
    rate: Tensor

    def __init__(self, p: float, place: int, *, channels: bool = False) -> None:
        super().__init__()
        self.p, self.place, self.channels = p, place, channels
        self.register_buffer("key", torch.zeros((), dtype=torch.int32), persistent=False)
        self.register_buffer("rate", torch.tensor(p), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        if not self.training or (self.p == 0 and self.alone):
            return x
        shape = (*x.shape[:2], *(1 for _ in x.shape[2:])) if self.channels else tuple(x.shape)
        return x * mask(self.key, positions(shape, x.device), self.rate)

    def extra_repr(self) -> str:
        """For print."""
        return f"p={self.p}, place={self.place}, channels={self.channels}"
