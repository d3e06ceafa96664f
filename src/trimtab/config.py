"""One way in: params.yaml → Hydra overrides → the composed configuration, typed, with errors that name the culprit."""

import functools
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir, main
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException, UnsupportedInterpolationType

from trimtab.errors import ConfigError, TrimtabError, first_line
from trimtab.garbage import leave_quickly
from trimtab.mistakes import WRONG, explained
from trimtab.overrides import Override, leaves, overrides
from trimtab.paths import Paths, read_json
from trimtab.schema import OPTIONS, Schema

TRIAL_CODE = (
    "data",
    "models",
    "population",
    "trial",
    "stages/population.py",
    "stages/train.py",
    "stages/unpack.py",
)
"""What computes a trial, below this folder."""


def register() -> None:
    """Makes the types and the resolvers of conf/ known; safe to call again."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Schema)
    for group, nodes in OPTIONS.items():
        for name, node in nodes.items():
            store.store(group=f"schema/{group}", name=name, node=node)
    resolvers: dict[str, Callable[..., Any]] = {
        "project": lambda: str(Paths.here().project),
        "cpus": lambda: os.cpu_count() or 1,
        "stem": _name_of,
        "data_hash": _data_hash,
        "code_hash": _code_hash,
        "direction": _direction,
        "space": _space,
        "study": _study_folder,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def _data_hash() -> str:
    """Hash of the prepared data: a study of other rows is another study."""
    manifest = Paths.here().manifest
    return str(read_json(manifest)["data_hash"]) if manifest.is_file() else "unprepared"


def _name_of(path: str) -> str:
    """A file's name as MLflow can bear it in the names of experiments and models."""
    return re.sub(r"[^\w .-]", "_", Path(path).stem)


@functools.cache
def _code_hash() -> str:
    """Hash of what computes a trial: a study of other code is another study."""
    places = [Path(__file__).parent / place for place in TRIAL_CODE]
    files = [f for place in places for f in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def _direction(metric: str) -> str:
    from trimtab.trial.objective import direction

    return direction(metric)


def _space(model: str) -> str:
    """The search space of a model: a user's own need not have one."""
    return model if (Paths.here().conf / "search" / f"{model}.yaml").is_file() else "none"


def _study_folder(*, _root_: DictConfig) -> str:
    """`<data>-<model>-<fingerprint>`: the folder of the study that this configuration names."""
    from trimtab.sweep.space.fingerprint import fingerprint

    model = OmegaConf.select(_root_, "hydra.runtime.choices.model")
    return f"{_root_.data.name}-{model}-{fingerprint(_root_)}"


# ---------------------------------------------------------------------------------------------------------------------
# Composition.


def compose(given: Iterable[Override]) -> DictConfig:
    """The resolved-on-access configuration with its `hydra` node; swept overrides are left out (the baseline).

    Raises:
        ConfigError: unknown or ill-typed key or option, a value that is missing, or a file of conf/ that can't be read.
    """
    fixed = [o for o in given if not o.swept]
    cfg = _composed(fixed)
    # Not OmegaConf.missing_keys: it resolves interpolations, and those of `hydra` have meaning in a running job only.
    for key, node in leaves(cfg):
        if node._is_missing():
            raise ConfigError(f"'{key}' has no value and needs one: type {key}=… or put it under `set:` in params.yaml")
        if node._is_interpolation():
            _check_resolves(cfg, key, str(node._value()))
    _check_plain_settings(cfg, fixed)
    return cfg


def _composed(fixed: Sequence[Override]) -> DictConfig:
    with _hydra():
        composed = functools.partial(hydra_compose, "config", return_hydra_config=True)
        try:
            return composed([o.text for o in fixed])
        except WRONG as e:
            raise explained(e, fixed, composed) from e


def _check_resolves(cfg: DictConfig, key: str, written: str) -> None:
    try:
        OmegaConf.select(cfg, key)
    except (InterpolationKeyError, UnsupportedInterpolationType) as e:
        raise ConfigError(f"{key} is {written}: {first_line(e)}; mend it in conf/, or where it was typed") from e
    except OmegaConfBaseException:
        pass  # it may be gone in the running job: `${hydra:job.num}`'s is


# The least that plain settings may be; knobs of a recipe are checked by what uses them.
LEAST = {
    "budget.trials": 1,
    "data.split_seed": 0,
    "evaluate.resamples": 1,
    "seed": 0,
    "select.candidates": 1,
    "select.seeds": 1,
    "sweep.workers": 1,
    "tracking.checkpoints": 0,
    "tracking.flush_s": 0,
    "validation.folds": 1,
}


def _check_plain_settings(cfg: DictConfig, given: Iterable[Override]) -> None:
    origins = {o.key: f" ({o.origin})" for o in given}
    for key, least in LEAST.items():
        value = OmegaConf.select(cfg, key)
        if value < least:
            raise ConfigError(f"{key} must be at least {least} but is {value}{origins.get(key, '')}; raise it")
    trials = cfg.tracking.trials
    if trials != "all" and not (isinstance(trials, int) and trials > 0):
        origin = origins.get("tracking.trials", "")
        raise ConfigError(f"tracking.trials must be 'all' or a positive number but is {trials!r}{origin}")


@contextmanager
def _hydra(job_name: str = "trimtab") -> Iterator[Hydra]:
    """Hydra on conf/, also while another application of Hydra is running."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(Paths.here().conf), job_name=job_name, version_base="1.3"):
            app = GlobalHydra.instance().hydra
            assert app is not None
            yield app
    finally:
        GlobalHydra.instance().hydra = running


# ---------------------------------------------------------------------------------------------------------------------
# Doors.


@contextmanager
def user_errors() -> Iterator[None]:
    """Prints a person's error and exits with code 2; anything else keeps its traceback. Ends the process quickly."""
    leave_quickly()
    try:
        yield
    except TrimtabError as e:
        sys.stderr.write(f"error: {e}\n")
        sys.exit(2)


def run(
    task: TaskFunction,
    argv: Sequence[str],
    *,
    hydra: Sequence[str] = (),
    multirun: bool = False,
    reads: str | None = None,
    app: Hydra | None = None,
) -> Any:
    """Runs a task as a Hydra application on standing and typed overrides; Hydra's own flags (`--cfg job`) work too.

    Args:
        task: gets the composed configuration.
        argv: what was typed.
        hydra: overrides of this door, below the typed ones.
        multirun: sweep, as `--multirun` does.
        reads: the only group that the task looks at; knobs elsewhere may be swept, by whoever comes after it.
        app: of `application`, where the configuration has been composed already.

    Returns:
        What the task returned; of a sweep, what the sweeper returned.
    """
    flags, typed = split_flags([*hydra, *argv])
    given = overrides(typed)
    if reads is not None:
        given = [o for o in given if not o.swept or o.key.split(".")[0] == reads]
    texts = [o.text for o in given]
    if flags:
        _composed([])  # for its messages: Hydra has a traceback for a file that it can't read
        sys.argv = [sys.argv[0], *flags, *texts]
        return main(version_base="1.3", config_path=str(Paths.here().conf), config_name="config")(task)()
    if app is None:
        compose(given)  # for its messages
    runs = Paths.here().runs
    if runs.exists() and not runs.is_dir():
        raise ConfigError(f"{runs} must be a folder (for studies and runs), but is a file; move it away")
    for override in (o for o in given if o.swept and not multirun):
        raise ConfigError(
            f"'{override.text}' ({override.origin}) names several values; `train --multirun` and `sweep` search them, "
            "this command takes one (a list is written [a,b], a text with a comma in quotes)"
        )
    with application(task) if app is None else nullcontext(app) as hydra_app:
        if multirun:
            return hydra_app.multirun("config", task, _of_multirun(given))
        return hydra_app.run("config", _politely(task), texts).return_value


def application(task: TaskFunction) -> AbstractContextManager[Hydra]:
    """Hydra for a `run`; what is composed by `rehearse` before it is not composed again."""
    return _hydra(task.__name__)


def rehearse(app: Hydra, argv: Sequence[str], hydra: Sequence[str] = ()) -> None:
    """Composes what a multirun of `run` will, for whoever waits for something else; errors are left to that."""
    with suppress(TrimtabError, *WRONG):
        _, typed = split_flags([*hydra, *argv])
        texts = _of_multirun(overrides(typed))
        master = app.compose_config("config", texts, run_mode=RunMode.MULTIRUN)
        OmegaConf.select(master, "hydra.sweep.dir")  # the study's name, for which it is planned
        _expect(app, texts, master)


def _expect(app: Hydra, texts: list[str], master: DictConfig) -> None:
    """Has the application take this for what it composes next, if it is of these overrides."""
    loader = app.config_loader
    compose = loader.load_configuration

    def load_configuration(*args: Any, **how: Any) -> DictConfig:
        del loader.load_configuration  # the class has its own
        asked = how.get("overrides"), how.get("run_mode")
        return master if asked == (texts, RunMode.MULTIRUN) else compose(*args, **how)

    loader.load_configuration = load_configuration  # type: ignore[method-assign]


def _of_multirun(given: Iterable[Override]) -> list[str]:
    """The data are pinned: whoever prepares others meanwhile must not change the later trials."""
    return [*(o.text for o in given), "hydra.mode=MULTIRUN", f"data.hash='{_data_hash()}'"]


def door(task: TaskFunction, argv: Sequence[str] | None = None, *, reads: str | None = None) -> None:
    """Runs a stage: like `run`, with nothing of Hydra's own written."""
    quiet = ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=stdout"]
    with user_errors():
        run(task, sys.argv[1:] if argv is None else argv, hydra=quiet, reads=reads)


def _politely(task: TaskFunction) -> TaskFunction:
    @functools.wraps(task)
    def wrapped(cfg: DictConfig) -> Any:
        with user_errors():
            return task(cfg)

    return wrapped


def split_flags(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's own flags (but `--multirun`) and the overrides."""
    typed = list(get_args_parser().parse_intermixed_args(list(argv)).overrides)
    return [a for a in argv if a not in typed and a not in ("--multirun", "-m")], typed


register()
