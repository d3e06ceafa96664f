"""A plain Hydra application with learning curves: no Lightning, no MLflow, of trimtab only `report`."""

import math
from pathlib import Path
from random import Random

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from sweep_app import App

import trimtab

STEPS = 9
CONFIG = """
defaults: [{override hydra/sweeper: trimtab}, {override hydra/sweeper/sampler: random}, _self_]
x: 0.5
seed: 0
fold: 0
sleep: 0.0
fail: []
hydra:
  sweep: {dir: out}
  sweeper:
    n_trials: 14
    lag: 3
    seed_key: seed
    progress: none
    ignore: [sleep, fail]
    params: {x: "interval(0.0, 1.0)"}
"""
APP = """
import os, signal, time
from pathlib import Path
import hydra
from curves_app import train_on
from hydra.core.hydra_config import HydraConfig

@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(cfg):
    died = Path(HydraConfig.get().runtime.output_dir) / "died"
    if HydraConfig.get().job.num in cfg.fail and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(cfg.sleep * (1 + cfg.seed % 7))
    return train_on(cfg)

if __name__ == "__main__":
    main()
"""


def curve(x: float, seed: int) -> list[float]:
    """Falls towards x², noisily; curves cross."""
    noise = Random(seed)
    return [x**2 + 2 * math.exp(-step * (1.2 - x) / 2) + noise.gauss(0, 0.05) for step in range(1, STEPS + 1)]


def train(cfg: DictConfig) -> float:
    values = curve(cfg.x, cfg.seed)
    for step, value in enumerate(values, start=1):
        trimtab.report(step, value)
    return values[-1]


def train_on(cfg: DictConfig) -> float:
    """As `train`, from where it had paused; writes down every step that it really takes."""
    values, folder = curve(cfg.x, cfg.seed + cfg.fold), trimtab.checkpoint_dir()
    saved = Path("none") if folder is None else folder / "step"
    begun = int(saved.read_text()) if saved.exists() else 0
    for step in range(begun + 1, STEPS + 1):
        if folder is not None:
            saved.write_text(str(step))
        with Path(HydraConfig.get().runtime.output_dir, "steps").open("a") as file:
            file.write(f"{step} ")
        trimtab.report(step, values[step - 1])
    return values[-1]


def write_curves_app(folder: Path) -> App:
    (folder / "conf").mkdir(parents=True)
    (folder / "app.py").write_text(APP)
    (folder / "curves_app.py").write_text(Path(__file__).read_text())
    (folder / "sweep_app.py").write_text(Path(__file__).with_name("sweep_app.py").read_text())
    (folder / "conf" / "config.yaml").write_text(CONFIG)
    return App(folder)
