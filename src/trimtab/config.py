"""One way in: params.yaml → Hydra overrides → the composed configuration, typed, with errors that name the culprit."""

import difflib
import functools
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir, main
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override as HydraOverride
from hydra.errors import HydraException
from hydra.types import TaskFunction
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trimtab.errors import ConfigError, TrimtabError
from trimtab.paths import Paths, read_json

_WORD = re.compile(r"[\w/+-]+(\.\d+)?([eE][+-]?\d+)?")

# ---------------------------------------------------------------------------------------------------------------------
# Types. One dataclass for what is always there; one per option where options differ (conf/ names them in its defaults).


@dataclass
class Objective:
    """What trials are compared by."""

    metric: str = MISSING


@dataclass
class Budget:
    """Where a study ends; not part of its name."""

    trials: int = MISSING


@dataclass
class Sweep:
    """How a study is run; not part of its name."""

    workers: int = MISSING
    dry_run: bool = MISSING


@dataclass
class Select:
    """How many candidates and seeds go into confirmation."""

    candidates: int = MISSING
    seeds: int = MISSING


@dataclass
class Evaluate:
    """How the test result is computed."""

    resamples: int = MISSING


@dataclass
class Training:
    """The loop of one trial."""

    epochs: int = MISSING
    batch_size: int = MISSING
    patience_epochs: int | None = MISSING


@dataclass
class Engine:
    """Where a trial is computed."""

    accelerator: str = MISSING
    devices: int = MISSING
    precision: str = MISSING
    threads: int = MISSING


@dataclass
class Tracking:
    """Where MLflow keeps the runs."""

    uri: str | None = MISSING
    artifacts: str | None = MISSING
    trials: Any = MISSING
    checkpoints: int = MISSING
    system_metrics: bool = MISSING
    flush_s: float = MISSING


@dataclass
class Search:
    """A search space: knob → {values, role, when}."""

    knobs: dict[str, Any] = field(default_factory=dict)


@dataclass
class Schema:
    """The whole configuration. `data`, `model`, `optimizer` and `schedule` are typed by their options."""

    data: Any = MISSING
    model: Any = MISSING
    optimizer: Any = MISSING
    schedule: Any = MISSING
    objective: Objective = field(default_factory=Objective)
    training: Training = field(default_factory=Training)
    engine: Engine = field(default_factory=Engine)
    tracking: Tracking = field(default_factory=Tracking)
    search: Search = field(default_factory=Search)
    budget: Budget = field(default_factory=Budget)
    sweep: Sweep = field(default_factory=Sweep)
    select: Select = field(default_factory=Select)
    evaluate: Evaluate = field(default_factory=Evaluate)
    seed: int = MISSING
    code: str = "${code_hash:}"


@dataclass
class Split:
    """Shares of the rows; they sum to 1."""

    train: float = MISSING
    val: float = MISSING
    test: float = MISSING


@dataclass
class TableData:
    """Settings of any data set; null columns are found."""

    name: str = MISSING
    source: Any = MISSING
    target: str | None = MISSING
    group: str | None = MISSING
    time: str | None = MISSING
    numeric: list[str] | None = MISSING
    categorical: list[str] | None = MISSING
    task: str | None = MISSING
    missing: str = MISSING
    duplicates: str = MISSING
    scaling: str = MISSING
    class_weights: str = MISSING
    split: Split = field(default_factory=Split)
    split_seed: int = MISSING
    hash: str = "${data_hash:}"


@dataclass
class FileData(TableData):
    """Settings of a table that comes as a file of the user's."""

    path: str = MISSING


@dataclass
class Linear:
    """conf/model/linear.yaml."""

    _target_: str = MISSING
    _partial_: bool = True
    dropout: float = MISSING


@dataclass
class MLP(Linear):
    """conf/model/mlp.yaml."""

    depth: int = MISSING
    width: int = MISSING
    activation: str = MISSING


@dataclass
class SGD:
    """conf/optimizer/sgd.yaml."""

    _target_: str = MISSING
    _partial_: bool = True
    lr: float = MISSING
    momentum: float = MISSING
    weight_decay: float = MISSING


@dataclass
class AdamW:
    """conf/optimizer/adamw.yaml."""

    _target_: str = MISSING
    _partial_: bool = True
    lr: float = MISSING
    betas: list[float] = MISSING
    eps: float = MISSING
    weight_decay: float = MISSING


def register() -> None:
    """Makes the types and the resolvers of conf/ known; safe to call again."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Schema)
    options: dict[str, dict[str, type]] = {
        "data": {"table": TableData, "file": FileData},
        "model": {"linear": Linear, "mlp": MLP},
        "optimizer": {"sgd": SGD, "adamw": AdamW},
    }
    for group, nodes in options.items():
        for name, node in nodes.items():
            store.store(group=f"schema/{group}", name=name, node=node)
    resolvers: dict[str, Callable[..., Any]] = {
        "project": lambda: str(Paths.here().project),
        "cpus": lambda: os.cpu_count() or 1,
        "stem": _name_of,
        "data_hash": _data_hash,
        "code_hash": _code_hash,
        "direction": _direction,
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
    here = Path(__file__).parent
    rooms = sorted(path for room in ("data", "models", "trial") for path in (here / room).rglob("*.py"))
    files = [*rooms, here / "stages" / "train.py", here / "stages" / "unpack.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def _direction(metric: str) -> str:
    from trimtab.trial.objective import direction

    return direction(metric)


def _study_folder(*, _root_: DictConfig) -> str:
    """`<data>-<model>-<fingerprint>`: the folder of the study that this configuration names."""
    from trimtab.sweep.fingerprint import fingerprint

    model = OmegaConf.select(_root_, "hydra.runtime.choices.model")
    return f"{_root_.data.name}-{model}-{fingerprint(_root_)}"


# ---------------------------------------------------------------------------------------------------------------------
# Overrides: params.yaml first, then what was typed; the last value of a key counts, swept or not.


@dataclass(frozen=True)
class Override:
    """One Hydra override and where it was written."""

    text: str
    origin: str

    @property
    def parsed(self) -> HydraOverride:
        """Hydra's reading of it."""
        return OverridesParser.create().parse_override(self.text)

    @property
    def key(self) -> str:
        """`optimizer.lr` or `model`, without `+`, `~` and package."""
        return str(self.parsed.key_or_group)

    @property
    def swept(self) -> bool:
        """Whether it names several values."""
        return bool(self.parsed.is_sweep_override())


def standing_overrides(params: Path) -> list[Override]:
    """params.yaml as overrides: leaves below `set:` and plain settings by their dotted path, null ones left out.

    Raises:
        ConfigError: not YAML, or no mapping.
    """
    try:
        root = yaml.compose(params.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(
            f"cannot read {params}: {e.strerror}; run from the project's folder, or restore the file (it may be empty)"
        ) from e
    except yaml.YAMLError as e:
        raise ConfigError(f"{params.name} is not YAML: {e}") from e
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{params.name} must be a mapping of settings, e.g. `model: mlp`")
    found: list[Override] = []
    for key, value in root.value:
        prefix = "" if key.value == "set" else key.value
        found.extend(_leaves(prefix, value, params.name))
    return found


def _leaves(prefix: str, node: yaml.Node, file: str) -> Iterator[Override]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _leaves(f"{prefix}.{key.value}".lstrip("."), value, file)
    else:
        text = _in_grammar(node)
        if text is not None:
            yield Override(f"{prefix}={text}", f"{file} line {node.start_mark.line + 1}")


def _in_grammar(node: yaml.Node) -> str | None:
    """A YAML value in Hydra's override grammar, never read as a sweep; None for null."""
    if isinstance(node, yaml.SequenceNode):
        return f"[{','.join(_in_grammar(n) or 'null' for n in node.value)}]"
    if node.tag.endswith(":null"):
        return None
    plain = getattr(node, "style", None) is None and (not node.tag.endswith(":str") or _WORD.fullmatch(node.value))
    return str(node.value) if plain else _quoted(node.value)


def _quoted(text: str) -> str:
    """Hydra unescapes quotes, and backslashes that stand before one."""
    escaped = re.sub(r"(\\*)'", r"\1\1\'", text)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{chr(92) * trailing}'"


def overrides(typed: Iterable[str], params: Path | None = None) -> list[Override]:
    """Standing overrides, then the typed ones; of equal keys the last counts.

    Raises:
        ConfigError: an override cannot be parsed.
    """
    standing = standing_overrides(params or Paths.here().params)
    return merged([*standing, *(Override(t, "the command line") for t in typed)])


def given_overrides() -> list[Override]:
    """What the running application was composed from."""
    return [Override(text, "params.yaml or the command line") for text in HydraConfig.get().overrides.task]


def merged(written: Iterable[Override]) -> list[Override]:
    """Of equal keys the last counts, swept or not.

    Raises:
        ConfigError: an override cannot be parsed.
    """
    last: dict[str, Override] = {}
    for override in written:
        try:
            key = override.key
        except HydraException as e:
            reason = str(e).splitlines()[0]
            raise ConfigError(f"cannot read '{override.text}' ({override.origin}): {reason}") from e
        last.pop(key, None)
        last[key] = override
    return list(last.values())


# ---------------------------------------------------------------------------------------------------------------------
# Composition, and what went wrong with it.


def compose(given: Iterable[Override]) -> DictConfig:
    """The resolved-on-access configuration with its `hydra` node; swept overrides are left out (the baseline).

    Raises:
        ConfigError: unknown or ill-typed key or option, or a value that is missing.
    """
    fixed = [o for o in given if not o.swept]
    try:
        with _hydra():
            cfg = hydra_compose("config", [o.text for o in fixed], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as e:
        raise _explained(e, fixed) from e
    # Not OmegaConf.missing_keys: it resolves interpolations, and those of `hydra` have meaning in a running job only.
    for key in (path for path, node in leaves(cfg) if node._is_missing()):
        raise ConfigError(f"'{key}' has no value and needs one: type {key}=… or put it under `set:` in params.yaml")
    _check_plain_settings(cfg, fixed)
    return cfg


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
def _hydra(job_name: str = "trimtab") -> Iterator[None]:
    """Hydra on conf/, also while another application of Hydra is running."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(Paths.here().conf), job_name=job_name, version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = running


def _explained(error: Exception, fixed: Sequence[Override]) -> ConfigError:
    """Finds the override that the composition fails on, by adding them one at a time to the defaults."""
    with _hydra():
        good: list[str] = []
        groups_first = sorted(fixed, key=lambda o: "." in o.key)
        for override in groups_first:
            try:
                hydra_compose("config", [*good, override.text])
            except (HydraException, OmegaConfBaseException) as e:
                cfg = hydra_compose("config", good, return_hydra_config=True)
                return ConfigError(_culprit(override, e, cfg))
            good.append(override.text)
    return ConfigError(" ".join(str(error).split()))


def _culprit(override: Override, error: Exception, cfg: DictConfig) -> str:
    said = f"'{override.text}' ({override.origin})"
    options = group_options(override.key)
    if options:
        value = str(override.parsed.value())
        return f"{said}: conf/{override.key} has no option '{value}'{_nearest(value, options)}"
    known = {*(path for path, _ in leaves(cfg)), *(str(key) for key in cfg if key != "hydra")}
    known = {path for path in known if not path.startswith("search.")}
    if override.key not in known and OmegaConf.select(cfg, override.key, throw_on_missing=False) is None:
        return f"{said}: the configuration has no key '{override.key}'{_nearest(override.key, known)}"
    reason = str(error.__cause__ or error).splitlines()[0]
    return f"{said}: {reason}"


def _nearest(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return hint + (f" There are: {', '.join(known)}." if len(known) <= 12 else "")


def group_options(group: str) -> list[str]:
    """The options of a config group in conf/, or of one that the sweeper brings; empty when there is no such group."""
    folder = Paths.here().conf / group
    ours = [p.stem for p in folder.glob("*.yaml")] if folder.is_dir() else []
    stored = ConfigStore.instance().repo
    for part in group.split("/"):
        stored = stored.get(part, {}) if isinstance(stored, dict) else {}
    return sorted({*ours, *(n.removesuffix(".yaml") for n in stored if n.endswith(".yaml"))})


def leaves(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and unresolved node of every leaf of the task's configuration."""
    for key in cfg:
        node = cfg._get_node(key)
        path = prefix + str(key)
        if path == "hydra":
            continue
        if isinstance(node, DictConfig) and not node._is_missing() and not node._is_none():
            yield from leaves(node, f"{path}.")
        else:
            yield path, node


# ---------------------------------------------------------------------------------------------------------------------
# Doors.


@contextmanager
def user_errors() -> Iterator[None]:
    """Prints a person's error and exits with code 2; anything else keeps its traceback."""
    try:
        yield
    except TrimtabError as e:
        sys.stderr.write(f"error: {e}\n")
        sys.exit(2)


def run(task: TaskFunction, argv: Sequence[str], *, hydra: Sequence[str] = (), multirun: bool = False) -> Any:
    """Runs a task as a Hydra application on standing and typed overrides; Hydra's own flags (`--cfg job`) work too.

    Args:
        task: gets the composed configuration.
        argv: what was typed.
        hydra: overrides of this door, below the typed ones.
        multirun: sweep, as `--multirun` does.

    Returns:
        What the task returned; of a sweep, what the sweeper returned.
    """
    flags, typed = split_flags([*hydra, *argv])
    given = overrides(typed)
    texts = [o.text for o in given]
    if flags:
        sys.argv = [sys.argv[0], *flags, *texts]
        return main(version_base="1.3", config_path=str(Paths.here().conf), config_name="config")(task)()
    compose(given)  # for its messages
    runs = Paths.here().runs
    if runs.exists() and not runs.is_dir():
        raise ConfigError(f"{runs} must be a folder (for studies and runs), but is a file; move it away")
    for override in (o for o in given if o.swept and not multirun):
        raise ConfigError(
            f"'{override.text}' ({override.origin}) names several values; `train --multirun` and `sweep` search them, "
            "this command takes one (a list is written [a,b], a text with a comma in quotes)"
        )
    with _hydra(task.__name__):
        app = GlobalHydra.instance().hydra
        assert app is not None
        if multirun:
            # Pinned: whoever prepares other data meanwhile must not change the later trials.
            return app.multirun("config", task, [*texts, "hydra.mode=MULTIRUN", f"data.hash='{_data_hash()}'"])
        return app.run("config", _politely(task), texts).return_value


def door(task: TaskFunction, argv: Sequence[str] | None = None) -> None:
    """Runs a stage: like `run`, with nothing of Hydra's own written."""
    quiet = ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=stdout"]
    with user_errors():
        run(task, sys.argv[1:] if argv is None else argv, hydra=quiet)


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
