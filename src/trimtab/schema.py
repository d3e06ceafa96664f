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
class Validation:
    """What epochs and trials are compared on: one part of the rows, or folds."""

    folds: int = MISSING
    fold: int | None = MISSING


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
    baselines: list[str] = MISSING


@dataclass
class Evaluate:
    """How the test result is computed."""

    resamples: int = MISSING


@dataclass
class Training:
    """The loop of one trial."""

    epochs: int = MISSING
    batch_size: Any = MISSING  # checked by the recipe: a number, all or auto
    lr_scaling: str = MISSING
    patience_epochs: int | None = MISSING


@dataclass
class Regularisation:
    """Penalties, noise and clipping."""

    l2: float = MISSING
    l1: float = MISSING
    l1_proximal: float = MISSING
    decay_on: str = MISSING
    label_smoothing: float = MISSING
    clip_norm: float | None = MISSING
    clip_value: float | None = MISSING
    gradient_noise: float = MISSING
    weight_noise: float = MISSING


@dataclass
class Augmentation:
    """How training examples vary."""

    _target_: str = MISSING
    flip: float = MISSING
    shift: float = MISSING
    noise: float = MISSING


@dataclass
class Engine:
    """How and where trials are computed."""

    size: int = MISSING
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
    validation: Validation = field(default_factory=Validation)
    training: Training = field(default_factory=Training)
    regularisation: Regularisation = field(default_factory=Regularisation)
    augmentation: Augmentation = field(default_factory=Augmentation)
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
    shape: list[int] | None = MISSING
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
class Mnist1dData(TableData):
    """conf/data/mnist1d.yaml."""

    test_rows: int | None = MISSING


@dataclass
class ImageFolderData(FileData):
    """conf/data/image_folder.yaml."""

    size: list[int] = MISSING
    channels: int = MISSING


@dataclass
class Linear:
    """conf/model/linear.yaml."""

    _target_: str = MISSING
    _partial_: bool = True
    initialisation: str = MISSING
    dropout: float = MISSING


@dataclass
class MLP(Linear):
    """conf/model/mlp.yaml."""

    depth: int = MISSING
    width: int | str = MISSING
    taper: float = MISSING
    activation: str = MISSING
    normalisation: str = MISSING
    input_dropout: float = MISSING


@dataclass
class CNN(Linear):
    """conf/model/cnn.yaml."""

    blocks: int = MISSING
    channels: int = MISSING
    kernel: int = MISSING
    dense: int = MISSING
    activation: str = MISSING
    normalisation: str = MISSING
    conv_dropout: float = MISSING


@dataclass
class GRU(Linear):
    """conf/model/gru.yaml."""

    depth: int = MISSING
    width: int = MISSING
    bidirectional: bool = MISSING
    normalisation: str = MISSING


@dataclass
class SGD:
    """conf/optimizer/sgd.yaml."""

    _target_: str = MISSING
    _partial_: bool = True
    lr: float = MISSING
    momentum: float = MISSING
    nesterov: bool = MISSING
    weight_decay: float = MISSING


@dataclass
class RMSprop:
    """conf/optimizer/rmsprop.yaml."""

    _target_: str = MISSING
    _partial_: bool = True
    lr: float = MISSING
    alpha: float = MISSING
    eps: float = MISSING
    weight_decay: float = MISSING


@dataclass
class Adam:
    """conf/optimizer/adam.yaml, adamw.yaml and nadam.yaml."""

    _target_: str = MISSING
    _partial_: bool = True
    lr: float = MISSING
    beta1: float = MISSING
    beta2: float = MISSING
    eps: float = MISSING
    weight_decay: float = MISSING


@dataclass
class Constant:
    """conf/schedule/constant.yaml and inverse_sqrt.yaml."""

    _target_: str = MISSING
    warmup: float = MISSING


@dataclass
class Step(Constant):
    """conf/schedule/step.yaml."""

    factor: float = MISSING
    drops: int = MISSING


@dataclass
class Cosine(Constant):
    """conf/schedule/cosine.yaml and exponential.yaml."""

    end: float = MISSING


@dataclass
class WarmRestarts(Cosine):
    """conf/schedule/warm_restarts.yaml."""

    cycles: int = MISSING
    growth: float = MISSING


@dataclass
class OneCycle(Cosine):
    """conf/schedule/one_cycle.yaml."""

    rise: float = MISSING
    start: float = MISSING


@dataclass
class Plateau(Constant):
    """conf/schedule/plateau.yaml."""

    factor: float = MISSING
    patience_epochs: int = MISSING


OPTIONS: dict[str, dict[str, type]] = {
    "data": {"table": TableData, "file": FileData, "mnist1d": Mnist1dData, "image_folder": ImageFolderData},
    "model": {"linear": Linear, "mlp": MLP, "cnn": CNN, "gru": GRU},
    "optimizer": {"sgd": SGD, "rmsprop": RMSprop, "adam": Adam},
    "schedule": {
        "constant": Constant,
        "step": Step,
        "cosine": Cosine,
        "warm_restarts": WarmRestarts,
        "one_cycle": OneCycle,
        "plateau": Plateau,
    },
}
"""Group → name below `/schema/` → type."""
