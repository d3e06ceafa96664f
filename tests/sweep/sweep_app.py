"""A small Hydra application that knows nothing of trimtab's rooms, in a folder with a nasty name."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

CONFIG = """
defaults: [{opt: adam}, {override hydra/sweeper: trimtab}, _self_]
x: 1.0
n: 3
kind: a
deep: {leaf: 1, list: [1, 2]}
seed: 0
sleep: 0.0
fail: []
hydra:
  sweep: {dir: out}
  sweeper:
    seed_key: seed
    progress: none
    ignore: [sleep, fail]
    params:
      opt: choice(adam, sgd)
      opt.lr: {values: "tag(log, interval(1e-4, 1.0))", role: nuisance}
      opt.momentum: {values: "interval(0.0, 0.99)", when: {opt: sgd}}
      n: range(1, 5)
"""
APP = """
import logging, math, os, signal, time
from pathlib import Path
import hydra
import trimtab
from hydra.core.hydra_config import HydraConfig

@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(cfg):
    logging.getLogger("app").info("opt %s", HydraConfig.get().runtime.choices.opt)
    trimtab.record(epochs=cfg.n)
    number = HydraConfig.get().job.num
    folder = Path(HydraConfig.get().runtime.output_dir)
    if number in cfg.fail and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(cfg.sleep * (1 + cfg.seed % 7))
    return (math.log10(cfg.opt.lr) + 2) ** 2 + cfg.opt.get("momentum", 0.5) ** 2 + cfg.n + (cfg.seed % 97) / 1e3

if __name__ == "__main__":
    main()
"""


@dataclass(frozen=True)
class App:
    """Where it lies, and how to run it."""

    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "app.py", "--multirun", *arguments]

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """In a process group of its own."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONWARNINGS": "default"},
        )

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def table(self) -> str:
        return (self.out / "trials.csv").read_text()


def write_app(folder: Path, config: str = CONFIG) -> App:
    (folder / "conf" / "opt").mkdir(parents=True)
    (folder / "app.py").write_text(APP)
    (folder / "conf" / "config.yaml").write_text(config)
    (folder / "conf" / "opt" / "adam.yaml").write_text("lr: 0.1\n")
    (folder / "conf" / "opt" / "sgd.yaml").write_text("lr: 0.1\nmomentum: 0.9\n")
    return App(folder)


def objective(cfg: DictConfig) -> float:
    """Smooth, and different for every seed."""
    return float(cfg.opt.lr + cfg.opt.get("momentum", 0.5) + cfg.n + cfg.seed % 97 / 1e3)
