"""A member between two epochs as a plain object: all that it needs to go on where it was, in any company."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trimtab.trial.recorder import Notes
from trimtab.trial.schedules import Lull

Named = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class MemberState:
    """What a member is after an epoch; all tensors on the CPU and at the member's own sizes.

    How many steps it took follows from the epoch, since an epoch has equally many for whoever may go on from here.

    Attributes:
        epoch: epochs done.
        weights: the network's state_dict: weights and buffers.
        optimizer: its kind, as conf/optimizer names it.
        memory: of the optimizer: averages of the gradient, by parameter.
        products: of the optimizer: products over the steps so far.
        streams: of each of its generators, where it is; they go on alike on the kind of device that they were on.
        notes: curves, validation results, best weights.
        lull: of the schedule `plateau`.
        seconds: its share of the time so far.
    """

    epoch: int
    weights: Named
    optimizer: str
    memory: tuple[Named, ...]
    products: dict[str, float]
    streams: Named
    notes: Notes
    lull: Lull
    seconds: float


# Tensors, numbers and these three classes: `torch.load` reads a state with its safe default, which runs no code.
torch.serialization.add_safe_globals([MemberState, Notes, Lull])
