"""Runs one trial as a Hydra job: own directory, `.hydra/`, job log, `HydraConfig`."""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf._utils import OmegaConfDumper, get_omega_conf_dumper

from trimtab.errors import Diverged, TrimtabError
from trimtab.sweep.context import taking_notes
from trimtab.sweep.journal import FULL
from trimtab.sweep.outcome import Failed, Outcome, judge, one_line

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """The task with what Hydra needs around it; travels to worker processes.

    Attributes:
        task: the application's function.
        context: Hydra's, with its callbacks.
        hydra: state of Hydra's singletons and resolvers for another process; None in this one.
    """

    task: TaskFunction
    context: HydraContext
    hydra: Any = None

    @classmethod
    def portable(cls, task: TaskFunction, context: HydraContext) -> "Job":
        """A job that can be pickled into another process."""
        return cls(task, context, Singleton.get_state())

    def __call__(self, cfg: DictConfig) -> Outcome:
        """Runs the task with `cfg`.

        Raises:
            OSError: the disk is full, or the trial's directory cannot be written; not the trial's
                fault.
        """
        if self.hydra is not None:
            _enter(self.hydra)
        outcomes: list[Outcome] = []
        subdir = cfg.hydra.output_subdir
        callbacks = _FastFiles(self.context.callbacks, subdir)
        with open_dict(cfg.hydra):
            cfg.hydra.output_subdir = None
        with _own_logging(), _own_console(cfg) if self.hydra is not None else nullcontext():
            run_job(
                task_function=_judged(self.task, outcomes),
                config=cfg,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
                hydra_context=HydraContext(self.context.config_loader, callbacks),
            )
        if not outcomes:
            raise OSError(*FULL[:1], "No space left on device")
        return outcomes[0]


_entered = False


def _enter(hydra: Any) -> None:
    """In a worker: once, gives this process the sweeper's Hydra."""
    global _entered
    if not _entered:
        setup_globals()
        Singleton.set_state(hydra)
        _entered = True


def _judged(task: TaskFunction, outcomes: list[Outcome]) -> TaskFunction:
    """The task, appending its outcome; none if the disk was full."""

    @wraps(task)
    def run(cfg: DictConfig) -> Any:
        begun = time.perf_counter()
        with taking_notes() as notes:
            try:
                returned = task(cfg)
            except (Exception, SystemExit) as e:
                log.error("the trial failed", exc_info=True)
                if not (isinstance(e, OSError) and e.errno in FULL):
                    outcomes.append(_failure(e, time.perf_counter() - begun))
                raise RuntimeError(one_line(e)) from e
        outcomes.append(judge(returned, notes, time.perf_counter() - begun))
        return returned

    return run


def _failure(error: BaseException, seconds: float) -> Failed:
    bad_input = isinstance(error, TrimtabError) and not isinstance(error, Diverged)
    text = str(error) if bad_input else one_line(error)
    if isinstance(error, SystemExit):
        text = f"the task called sys.exit({error.code!r})"
    return Failed(text, bad_input=bad_input, seconds=seconds)


class _FastFiles(Callbacks):
    """Writes `.hydra/` in place of `run_job`, by libyaml: pure Python takes 10–20 ms of a trial.

    `run_job` is given no `output_subdir`; before anybody else looks it is put back.
    """

    def __init__(self, inner: Callbacks, subdir: str | None) -> None:
        self.callbacks = inner.callbacks
        self._subdir = subdir

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        current: Any = HydraConfig.instance().cfg
        if self._subdir is not None and current is not None:
            for cfg in (config, current):
                with read_write(cfg.hydra), open_dict(cfg.hydra):
                    cfg.hydra.output_subdir = self._subdir
            self._write(config, Path(config.hydra.runtime.output_dir) / self._subdir)
        super().on_job_start(config=config, **kwargs)

    def _write(self, config: DictConfig, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        everything = OmegaConf.to_container(config, enum_to_str=True)
        assert isinstance(everything, dict)
        hydra = everything.pop("hydra")
        files = {"config": everything, "hydra": {"hydra": hydra}}
        for name, content in {**files, "overrides": hydra["overrides"]["task"]}.items():
            (folder / f"{name}.yaml").write_text(_dump(content), encoding="utf-8")


def _dump(content: Any) -> str:
    """What OmegaConf.to_yaml writes."""
    options: dict[str, Any] = {"default_flow_style": False, "allow_unicode": True}
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, **options))


class _Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
    """OmegaConf's way of writing text, on libyaml where PyYAML has it."""


get_omega_conf_dumper()
_Dumper.add_representer(str, OmegaConfDumper.str_representer)


@contextmanager
def _own_logging() -> Iterator[None]:
    """Gives the job its logging and the sweeper its own back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:], root.level = handlers, level


@contextmanager
def _own_console(cfg: DictConfig) -> Iterator[None]:
    """In a worker: what a trial prints, also from native code, goes to `console.log` in its folder."""
    path = Path(str(cfg.hydra.sweep.dir), str(cfg.hydra.sweep.subdir), "console.log")
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [os.dup(fd) for fd in (1, 2)]
    try:
        with path.open("ab") as file:
            _point(file.fileno(), file.fileno())
            yield
    finally:
        _point(*kept)
        for fd in kept:
            os.close(fd)
        if not path.stat().st_size:
            path.unlink()


def _point(stdout: int, stderr: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
