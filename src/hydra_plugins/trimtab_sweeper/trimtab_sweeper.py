"""The door between Hydra and trimtab.sweep."""

import os
import sys
from pathlib import Path
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.trimtab_sweeper import config as _config  # noqa: F401  registers the options
from trimtab.errors import TrimtabError

BAD_INPUT = 2
"""Exit code of a sweep that cannot run as asked for."""


class TrimtabSweeper(Sweeper):
    """Asks, runs and tells trials until the study has `n_trials` of them; resumes by itself."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keeps what Hydra hands over."""
        self.hydra_context = hydra_context
        self.config = config
        self._given = (hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> Path:
        """Runs the study and returns its directory; bad input ends in one clear line and exit code 2.

        HYDRA_FULL_ERROR=1 shows the traceback instead.
        """
        from trimtab.sweep.build import settings
        from trimtab.sweep.sweep import sweep

        try:
            return sweep(settings(self.settings), arguments, *self._given)
        except TrimtabError as e:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            sys.stderr.write(f"error: {e}\n")
            raise SystemExit(BAD_INPUT) from e
