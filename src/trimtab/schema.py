"""Types of the configuration: one dataclass for what is always there, one per option where options differ.

An option of conf/ names its type in its defaults list, e.g. `/schema/model/mlp@_here_`.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


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


OPTIONS: dict[str, dict[str, type]] = {
    "data": {"table": TableData, "file": FileData},
    "model": {"linear": Linear, "mlp": MLP},
    "optimizer": {"sgd": SGD, "adamw": AdamW},
}
"""Group → name below `/schema/` → type."""
