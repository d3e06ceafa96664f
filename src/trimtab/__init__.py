"""trimtab tunes the hyperparameters of neural networks and proves what it found.

Importing it is light: a Hydra application that only wants the sweeper needs `report` and `record`.
"""

from trimtab.sweep.context import record, report

__all__ = ["record", "report"]
__version__ = "0.1.0"
