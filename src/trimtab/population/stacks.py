"""Which members share a stack: those that may, and of those the ones that cost alike.

Padding makes a small perceptron as dear as the largest of its stack. So an epoch's time is modelled, and members are
parted so that the sum over stacks is least. The constants are a fit to stacks of 1, 2, 4 and 8 perceptrons (16 × 1 …
256 × 4, batches of 16 to 256, with dropout) on one core of an x86-64 of the 2020s, half of them within 7 %, nine of ten
within 17 %; only their ratios matter.
Convolutional networks are alike in a stack, and gain by company until their windows leave the caches. Elsewhere than on
a CPU, members stay together.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from trimtab.data.arrays import Arrays, Parts
from trimtab.models.cnn import CNN
from trimtab.models.mlp import MLP
from trimtab.population.cnn import window_numbers
from trimtab.population.members import Member, company
from trimtab.population.mlp import hidden_layers


class Candidate(NamedTuple):
    """A member whose batch size is a number, its network, and what it is trained on."""

    member: Member
    model: nn.Module
    parts: Parts[Arrays]


EPOCH_MS, STEP_MS, LAYER_MS, MEMBER_MS = 2.0, 0.069, 0.033, 0.013
"""Of an epoch, and of a step, whatever is in it; of a step for each layer; for each member."""
WEIGHT_MS, WEIGHT_ROW_MS, UNIT_ROW_MS = 1.4e-6, 3.4e-8, 4.9e-6
"""For each weight of each member: the optimizer's part, and that of each row; for each hidden unit and row."""

JOINED_BYTES = 64 * 2**20
"""Of one set's inputs: larger sets share no stack."""

WINDOWS_IN_CACHE = 600_000
"""Numbers: with more of them in a step, stacks of convolutions took longer for each member (1 MB of L2 a core)."""


def stacks(candidates: Sequence[Candidate], device: torch.device) -> list[list[Candidate]]:
    """Parts members into stacks.

    Args:
        candidates: who is to be trained.
        device: where.
    """
    alike: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        shared = company(candidate.member.recipe), _lengths(candidate.parts)
        alike.setdefault(repr(shared), []).append(candidate)
    groups = [sorted(group, key=lambda c: (_size(c.model), c.member.number)) for group in alike.values()]
    if device.type != "cpu":
        return groups
    return [part for group in groups for part in _parted(group) for part in _in_cache(part)]


def _lengths(parts: Parts[Arrays]) -> tuple[Any, ...]:
    """What the rows of a stack's members must share: each step takes as many of each, and one loss fits all.

    The sets of one stack are copied into one tensor; large ones are not.
    """
    train, problem = parts.train, parts.problem
    own = id(parts) if train.x.nbytes > JOINED_BYTES else None
    return len(train.x), len(parts.val.x), problem.shape, problem.outputs, problem.class_weights, own


def _in_cache(stack: list[Candidate]) -> list[list[Candidate]]:
    """Members of equal shapes in even parts, so few that the windows of their batches stay in the caches."""
    member, model, _ = stack[0]
    if not isinstance(model, CNN):
        return [stack]
    most = max(1, WINDOWS_IN_CACHE // (window_numbers(model) * int(member.recipe.batch_size)))
    parts = np.array_split(range(len(stack)), -(-len(stack) // most))
    return [[stack[place] for place in part] for part in parts]


def _parted(group: list[Candidate]) -> list[list[Candidate]]:
    """The partition of sorted members into neighbours that takes least time: `best[i]` is that of the first i."""
    best: list[tuple[float, int]] = [(0.0, 0)]
    for stop in range(1, len(group) + 1):
        best.append(min((best[start][0] + _epoch_ms(group[start:stop]), start) for start in range(stop)))
    found, stop = [], len(group)
    while stop:
        start = best[stop][1]
        found.append(group[start:stop])
        stop = start
    return found[::-1]


def _epoch_ms(stack: Sequence[Candidate]) -> float:
    """An epoch of these members as one stack."""
    sizes = [_size(c.model) for c in stack]
    first, rows, batch = stack[0].model, len(stack[0].parts.train.x), int(stack[0].member.recipe.batch_size)
    depth = max(depth for _, _, depth in sizes)
    width = max(width for _, width, _ in sizes)
    weights = max(size for size, _, _ in sizes)
    if isinstance(first, MLP) and depth:
        layers = hidden_layers(first)
        outputs = first.layers.output.out_features  # type: ignore[union-attr]
        weights = width * (layers[0].linear.in_features + (depth - 1) * width + int(outputs))  # type: ignore[arg-type]
    each = MEMBER_MS + weights * (WEIGHT_MS + WEIGHT_ROW_MS * batch) + width * depth * batch * UNIT_ROW_MS
    return EPOCH_MS + -(-rows // batch) * (STEP_MS + LAYER_MS * depth + len(stack) * each)


def _size(model: nn.Module) -> tuple[int, int, int]:
    """Weights, widest layer and number of hidden layers; of other networks than perceptrons only the first counts."""
    weights = sum(p.numel() for p in model.parameters())
    layers = hidden_layers(model) if isinstance(model, MLP) else []
    return weights, max((h.linear.out_features for h in layers), default=0), len(layers)
