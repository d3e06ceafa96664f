"""The options of `hydra/sweeper=trimtab` and of its groups `sampler`, `pruner` and `executor`."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class PopulationConf:
    """How trials are run together, by a task that can; size 1 runs each alone."""

    _target_: str = "trimtab.sweep.together.Together"
    size: int = 1
    at_once: int | None = None
    shape_knobs: list[str] = field(default_factory=list)


@dataclass
class TrimtabSweeperConf:
    """Settings of a sweep, as they stand in `hydra.sweeper`; trimtab.sweep.settings explains them."""

    defaults: list[Any] = field(
        default_factory=lambda: [{"sampler": "tpe"}, {"pruner": "none"}, {"executor": "inline"}, "_self_"]
    )
    _target_: str = "hydra_plugins.trimtab_sweeper.trimtab_sweeper.TrimtabSweeper"
    _recursive_: bool = False  # nodes are built at the sweep's own door, which says what is wrong with them
    sampler: Any = MISSING
    executor: Any = MISSING
    direction: Any = "minimize"
    n_trials: int = 20
    n_jobs: int = 1
    lag: int = 8
    seed: int = 0
    seed_key: str | None = None
    seeds: int = 1
    fold_key: str | None = None
    folds: int = 1
    baseline: bool = True
    params: dict[str, Any] | None = field(default_factory=dict)
    try_first: list[Any] = field(default_factory=list)
    warm_start: str | None = None
    custom_search_space: str | None = None
    max_failure_rate: float = 1.0
    ignore: list[str] = field(default_factory=list)
    study_name: str | None = None
    callbacks: list[Any] = field(default_factory=list)
    pruner: Any = MISSING
    prune_baseline: bool = False
    max_step: int | None = None
    pause: bool = False
    schedule: str = "reproducible"
    minutes: float | None = None
    target: float | None = None
    timeout_s: float | None = None
    retries: int = 1
    give_up_after: int = 5
    storage: str | None = None
    population: PopulationConf = field(default_factory=PopulationConf)
    keep_trials: int | None = None
    max_starts: int = 10
    progress: str = "auto"
    dry_run: bool = False


@dataclass
class AutoConf:
    """Chooses one of the others by budget, knobs and objectives, and says why. Take it if you don't want to choose."""

    _target_: str = "trimtab.sweep.samplers.auto.Auto"
    seed: int | None = None


@dataclass
class TpeConf:
    """Learns which regions are good. Take it by default: any kind of knob, conditions, several objectives."""

    _target_: str = "trimtab.sweep.samplers.optunas.Tpe"
    n_startup_trials: int = 10
    n_ei_candidates: int = 24
    multivariate: bool = True
    seed: int | None = None


@dataclass
class RandomConf:
    """Independent draws. Take it as the honest comparison, or for very many workers at once."""

    _target_: str = "trimtab.sweep.samplers.optunas.Random"
    seed: int | None = None


@dataclass
class GridConf:
    """Every point once, in an order shuffled by the seed. Take it for a few discrete knobs that you want whole."""

    _target_: str = "trimtab.sweep.samplers.designs.Grid"
    seed: int | None = None


@dataclass
class SobolConf:
    """Spreads evenly where random clumps. Take it for few trials, to see a space, or to learn from it later."""

    _target_: str = "trimtab.sweep.samplers.designs.Sobol"
    seed: int | None = None


@dataclass
class GpConf:
    """A Gaussian process. Take it for costly trials: up to some 200, few knobs, no conditions; ≈ 0.5 s a proposal."""

    _target_: str = "trimtab.sweep.samplers.optunas.Gp"
    n_startup_trials: int = 10
    deterministic_objective: bool = False
    seed: int | None = None


@dataclass
class CmaEsConf:
    """Moves a normal distribution. Take it for numbers only (5 to 100 knobs) and hundreds of trials or more."""

    _target_: str = "trimtab.sweep.samplers.covariance.CmaEs"
    popsize: int | None = None
    with_margin: bool = False
    n_startup_trials: int = 1
    seed: int | None = None


@dataclass
class GeneticConf:
    """Children of good trials. Take it for a thousand trials or more with choices and conditions."""

    _target_: str = "trimtab.sweep.samplers.genetic.Genetic"
    population_size: int = 32
    mutation_prob: float | None = None
    crossover_prob: float = 0.9
    swapping_prob: float = 0.5
    seed: int | None = None


@dataclass
class Nsga2Conf:
    """Children of a Pareto front. Take it for several objectives and hundreds of trials or more."""

    _target_: str = "trimtab.sweep.samplers.genetic.Nsga2"
    population_size: int = 50
    mutation_prob: float | None = None
    crossover_prob: float = 0.9
    swapping_prob: float = 0.5
    seed: int | None = None


@dataclass
class NeverConf:
    """No pruning: every trial runs to its end. Take it where trials are short or report nothing."""

    _target_: str = "trimtab.sweep.pruners.pruner.Never"


@dataclass
class MedianConf:
    """Ends what is worse than the median at the same step. Take it first: it spares about half and seldom errs."""

    _target_: str = "trimtab.sweep.pruners.optunas.Median"
    startup_trials: int = 5
    warmup_steps: int = 0
    interval_steps: int = 1
    min_trials: int = 1


@dataclass
class PatientConf:
    """Ends what no longer improves, or lets another pruner (`wrapped`) end only that. Take it for noisy curves."""

    _target_: str = "trimtab.sweep.pruners.optunas.Patient"
    patience: int = 5
    min_delta: float = 0.0
    wrapped: Any = None


@dataclass
class ThresholdConf:
    """Ends what leaves fixed limits, or reports NaN. Take it where you know what a hopeless value is."""

    _target_: str = "trimtab.sweep.pruners.optunas.Threshold"
    lower: float | None = None
    upper: float | None = None
    warmup_steps: int = 0
    interval_steps: int = 1


@dataclass
class AshaConf:
    """Lets the best 1/eta pass each rung. Take it for many trials whose early steps foretell the late ones."""

    _target_: str = "trimtab.sweep.pruners.rungs.Asha"
    min_step: int = 1
    max_step: Any = "${hydra.sweeper.max_step}"
    reduction_factor: int = 3
    pause: Any = "${hydra.sweeper.pause}"


@dataclass
class HyperbandConf:
    """ASHA with early and late first rungs. Take it if unsure that early steps foretell late ones."""

    _target_: str = "trimtab.sweep.pruners.rungs.Hyperband"
    min_step: int = 1
    max_step: Any = "${hydra.sweeper.max_step}"
    reduction_factor: int = 4
    brackets: int | None = 2
    pause: Any = "${hydra.sweeper.pause}"


@dataclass
class InlineConf:
    """Trials run one after another in the sweeper's own process."""

    _target_: str = "trimtab.sweep.executors.local.Inline"
    _partial_: bool = True


@dataclass
class ProcessesConf:
    """Trials run in `n_jobs` warm worker processes; one that dies costs its own trial only."""

    _target_: str = "trimtab.sweep.executors.local.Processes"
    _partial_: bool = True
    threads: int | None = None
    preload: list[str] = field(default_factory=list)


@dataclass
class RayConf:
    """Trials run as tasks of a ray cluster, or of one started here. Take it for a cluster that ray already runs on."""

    _target_: str = "trimtab.sweep.executors.on_ray.Ray"
    _partial_: bool = True
    address: str | None = None
    cpus: float = 1
    gpus: float = 0
    resources: dict[str, float] = field(default_factory=dict)


@dataclass
class SubmititConf:
    """Trials run as SLURM jobs of their own. Take it for trials of at least some minutes."""

    _target_: str = "trimtab.sweep.executors.on_submitit.Submitit"
    _partial_: bool = True
    folder: str = "${hydra.sweep.dir}/.submitit"
    cluster: str = "slurm"
    parameters: dict[str, Any] = field(default_factory=dict)


def _register() -> None:
    store = ConfigStore.instance()
    options: dict[str, dict[str, Any]] = {
        "hydra/sweeper": {"trimtab": TrimtabSweeperConf},
        "hydra/sweeper/sampler": {
            "auto": AutoConf,
            "tpe": TpeConf,
            "random": RandomConf,
            "grid": GridConf,
            "sobol": SobolConf,
            "gp": GpConf,
            "cmaes": CmaEsConf,
            "genetic": GeneticConf,
            "nsga2": Nsga2Conf,
            "nsgaii": Nsga2Conf,  # these two as the official Optuna sweeper calls them
            "motpe": TpeConf,
        },
        "hydra/sweeper/pruner": {
            "none": NeverConf,
            "median": MedianConf,
            "patient": PatientConf,
            "threshold": ThresholdConf,
            "asha": AshaConf,
            "hyperband": HyperbandConf,
        },
        "hydra/sweeper/executor": {
            "inline": InlineConf,
            "processes": ProcessesConf,
            "ray": RayConf,
            "submitit": SubmititConf,
        },
    }
    for group, names in options.items():
        for name, node in names.items():
            store.store(group=group, name=name, node=node, provider="trimtab_sweeper")


_register()
