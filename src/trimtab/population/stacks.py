"""Which members share a stack.

What `compiled/` trains costs what each costs alone, whoever is beside it: all that share one, and the cost of its
epochs. Other networks must be alike, and on a CPU gain by company until their windows leave the caches.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from trimtab.data.arrays import Arrays, Parts
from trimtab.models.cnn import CNN
from trimtab.population.cnn import window_numbers
from trimtab.population.compiled.singles import can_train
from trimtab.population.members import Member, company


class Candidate(NamedTuple):
    """A member whose batch size is a number, its network, and what it is trained on."""

    member: Member
    model: nn.Module
    parts: Parts[Arrays]


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
        compiled = can_train(candidate.member, candidate.model, device)
        shared = "compiled" if compiled else repr((company(candidate.member.recipe), _lengths(candidate.parts)))
        alike.setdefault(shared, []).append(candidate)
    groups = [sorted(group, key=lambda c: (_size(c.model), c.member.number)) for group in alike.values()]
    return groups if device.type != "cpu" else [part for group in groups for part in _in_cache(group)]


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


def _size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
