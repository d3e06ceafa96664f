"""Nothing lost: SIGKILLs at random moments and one at every single write; the table stays the undisturbed sweep's.

python -m benchmarks.sweeper_kills [--kills 100] [--writes 6]

Random moments: half of the kills hit the sweeper, half one of its workers, in one study that is resumed until it is
complete. Every write: a small study in which the n-th write to the journal is the last thing that the process does,
half written, for n = 1, 2, …; each is resumed. Checked: table byte for byte, no number twice or missing, no process
left.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from trimtab.sweep.store.study import open_study

APP = """
import math, os, signal, time, hydra

@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(cfg):
    time.sleep(cfg.sleep * (1 + cfg.seed % 7))
    return (math.log10(cfg.lr) + 2) ** 2 + cfg.n + (cfg.seed % 97) / 1e3

if __name__ == "__main__":
    last = int(os.environ.get("LAST_WRITE", "0"))
    if last:
        from trimtab.sweep.store import journal
        whole, count = journal._write_whole, 0

        def write(fd, data, start):
            global count
            count += 1
            if count == last:
                os.write(fd, data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            whole(fd, data, start)

        journal._write_whole = write
    main()
"""
CONFIG = """
defaults: [{override hydra/sweeper: trimtab}, _self_]
lr: 0.1
n: 3
seed: 0
sleep: 0.0
hydra:
  sweep: {dir: out}
  sweeper:
    seed_key: seed
    progress: none
    max_starts: 1000
    lag: 4
    ignore: [sleep]
    sampler: {n_startup_trials: 2}
    params: {lr: "tag(log, interval(1e-4, 1.0))", n: "range(1, 5)"}
"""
PROCESSES = ["hydra/sweeper/executor=processes", "hydra.sweeper.n_jobs=2"]


def command(folder: Path, trials: int, *overrides: str) -> list[str]:
    return [sys.executable, str(folder / "app.py"), "-m", f"hydra.sweeper.n_trials={trials}", *overrides]


def table(folder: Path, trials: int, out: str, *overrides: str) -> bytes:
    """Runs a sweep to its end."""
    argv = command(folder, trials, f"hydra.sweep.dir={out}", *overrides)
    subprocess.run(argv, cwd=folder, check=True, capture_output=True)
    return (folder / out / "trials.csv").read_bytes()


def killed_at_random(folder: Path, kills: int, trials: int, seed: int) -> tuple[int, int]:
    """Kills of the sweeper and of workers until all are spent, or the study is complete before that."""
    moments, hit = random.Random(seed), [0, 0]
    while sum(hit) < kills:
        with subprocess.Popen(
            command(folder, trials, *PROCESSES, "sleep=0.05"),
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            while process.poll() is None and sum(hit) < kills:
                time.sleep(moments.uniform(0.0, 6.0))
                workers = children(process.pid)
                if moments.random() < 0.5 and workers:
                    _kill(moments.choice(workers).pid)
                    hit[1] += 1
                elif process.poll() is None:
                    process.kill()
                    hit[0] += 1
            if process.poll() is None:
                process.kill()
        if process.returncode == 0:
            break
    return hit[0], hit[1]


def children(process: int) -> list[psutil.Process]:
    """Worker processes; multiprocessing's resource tracker is none."""
    try:
        return [p for p in psutil.Process(process).children() if "spawn_main" in " ".join(p.cmdline())]
    except psutil.Error:
        return []


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def survivors(folder: Path) -> list[int]:
    """Processes of these sweeps that still run a few seconds after their end."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        left = [p.pid for p in psutil.process_iter() if _below(p, folder)]
        if not left:
            return []
        time.sleep(0.2)
    return left


def _below(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.cwd().startswith(str(folder))
    except psutil.Error:
        return False


def killed_at_every_write(folder: Path, trials: int, expected: bytes) -> tuple[int, int]:
    """How many writes there were to be killed at, and after how many the table was another."""
    wrong = 0
    for last in range(1, 1000):
        out = f"write{last}"
        argv = command(folder, trials, f"hydra.sweep.dir={out}")
        first = subprocess.run(argv, cwd=folder, capture_output=True, env={**os.environ, "LAST_WRITE": str(last)})
        if first.returncode == 0:
            return last - 1, wrong
        wrong += table(folder, trials, out) != expected or not complete(folder / out, trials)
    raise AssertionError("a sweep of so few trials has no thousand writes")


def complete(directory: Path, trials: int) -> bool:
    """Exactly so many trials, each number once, all ended."""
    found = open_study(directory).trials
    return [t.number for t in found] == list(range(trials)) and all(t.state.is_finished() for t in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--writes", type=int, default=6, help="trials of the study that is killed at every write")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        (folder / "conf").mkdir()
        (folder / "app.py").write_text(APP)
        (folder / "conf" / "config.yaml").write_text(CONFIG)
        writes, wrong = killed_at_every_write(folder, args.writes, table(folder, args.writes, "small"))
        print(f"killed at each of {writes} writes of a study of {args.writes} trials: {wrong} other tables", flush=True)
        sweeper, workers = killed_at_random(folder, args.kills, args.trials, args.seed)
        done = len(open_study(folder / "out").finished) if (folder / "out" / "study.journal").exists() else 0
        print(f"{sweeper} SIGKILLs of the sweeper, {workers} of workers, {done} trials done by then", flush=True)
        trials = done + 10
        same = table(folder, trials, "out", *PROCESSES) == table(folder, trials, "undisturbed")
        print(f"table of {trials} trials byte-identical to the undisturbed one: {'yes' if same else 'NO'}")
        print(f"every number once, all ended: {'yes' if complete(folder / 'out', trials) else 'NO'}")
        print(f"processes left: {survivors(folder) or 'none'}")


if __name__ == "__main__":
    main()
