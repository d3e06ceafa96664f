"""Imports torchmetrics, which Lightning brings along, half a second sooner: without scipy.signal.

It imports that for the sake of a package of audio metrics, to give one function a name that it had once.
"""

import sys
from types import ModuleType

if "torchmetrics" not in sys.modules and "scipy.signal" not in sys.modules:
    stand_in = ModuleType("scipy.signal")
    stand_in.hamming = None  # type: ignore[attr-defined]  # there is the name
    sys.modules[stand_in.__name__] = stand_in
    try:
        import torchmetrics  # noqa: F401
    finally:
        del sys.modules[stand_in.__name__]
