"""trimtab tunes the hyperparameters of neural networks and proves what it found.

Importing it is light: a Hydra application that only wants the sweeper needs `report`, `record` and `constraint`.
"""

from trimtab.errors import Pruned
from trimtab.sweep.context import checkpoint_dir, constraint, record, report

__all__ = ["Pruned", "checkpoint_dir", "constraint", "record", "report"]
__version__ = "0.1.0"
