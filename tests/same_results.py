"""When two trainings came to the same."""

from dataclasses import fields

import numpy as np
import torch

from trimtab.trial.result import TrialResult


def equal(a: TrialResult, b: TrialResult) -> bool:
    """Bitwise, in all that does not depend on the clock."""
    plain = {f.name for f in fields(a)} - {"per_example", "weights", "seconds", "peak_memory_mb"}
    return (
        all(getattr(a, name) == getattr(b, name) for name in plain)
        and np.array_equal(a.per_example, b.per_example)
        and all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights | b.weights)
    )
