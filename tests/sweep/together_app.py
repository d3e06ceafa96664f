"""A plain Hydra application that runs trials together: no Lightning, no MLflow."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from sweep_app import App

import trimtab
from trimtab.sweep.jobs.trial import Trial

CONFIG = """
defaults: [{override hydra/sweeper: trimtab}, _self_]
x: 0.5
shape: 8
twice: ${shape}${shape}
name: ${hydra:job.name}-${hydra:job.num}
seed: 0
fold: 0
sleep: 0.0
fail: []
hydra:
  job: {name: app}
  sweep: {dir: out}
  sweeper:
    n_trials: 22
    seed_key: seed
    progress: none
    ignore: [sleep, fail]
    population: {size: 3, shape_knobs: [shape]}
    params: {x: "interval(0.0, 1.0)", shape: "choice(8, 16)"}
"""
APP = """
import hydra
from together_app import population, train

def main(cfg):
    return train(cfg)

main.population = population

if __name__ == "__main__":
    hydra.main(config_path="conf", config_name="config", version_base="1.3")(main)()
"""


def train(cfg: DictConfig) -> float:
    """One trial: two reports and a value."""
    value = float((cfg.x - 0.3) ** 2 + cfg.shape / 100 + cfg.seed % 97 / 1e4 + cfg.fold / 1e3)
    trimtab.record(epochs=2, name=cfg.name)
    trimtab.constraint("x", cfg.x, 0.9)
    for step in (1, 2):
        trimtab.report(step, value + 1 / step)
    return value


def population(trials: Sequence[Trial]) -> Iterator[tuple[int, Any]]:
    """What `train` does for each, the last first; writes down who was together."""
    for trial in trials:
        died = trial.directory / "died"
        if trial.number in trial.cfg.fail and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(trials[0].cfg.sleep * (1 + trials[0].seed % 7))
    for place, trial in reversed(list(enumerate(trials))):
        assert trial.seed == trial.cfg.seed
        (trial.directory / "company").write_text(" ".join(str(t.number) for t in trials))
        with trial.active():
            assert HydraConfig.get().job.num == trial.number
            found: Any = None
            with suppress(trimtab.Pruned):
                found = train(trial.cfg)
        yield place, found


def write_together_app(folder: Path) -> App:
    (folder / "conf").mkdir(parents=True)
    (folder / "app.py").write_text(APP)
    for name in ("together_app.py", "sweep_app.py"):
        (folder / name).write_text(Path(__file__).with_name(name).read_text())
    (folder / "conf" / "config.yaml").write_text(CONFIG)
    return App(folder)
