"""What the journal on disk costs against a study in memory, and what a disk that fills up does to it.

python -m benchmarks.sweeper_storage [--trials 100] [--repeats 9] [--folder DIR]
python -m benchmarks.sweeper_storage --disk [--disk-trials 6]

Cost: the same sweep, inline, random sampler, ten reports per trial, everything else of it unchanged (folders, logs,
tables), with Optuna's InMemoryStorage in place of the journal; a task that takes 50 ms and one that returns at once.
Repeats alternate in who goes first; ratios are of pairs, wall time from the first call of the task to the end of the
sweep. Limit: undisturbed and with trials of 50 ms, the median at most 5 % slower.

Disk: a study on a file system that is full, then one page larger, and so on until the study is complete, so that it
fills up at every page that is written; and the same with a limit on the size of files, which cuts writes in their
middle. Each time the same command is repeated. Limits: table byte for byte that of an undisturbed sweep, every number
once, and each end says what is wrong and that nothing is lost.
"""

import argparse
import os
import resource
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

from hydra import main as hydra_main
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from optuna.storages import InMemoryStorage

import trimtab
from benchmarks.projects import ROOT
from benchmarks.sweeper_kills import APP, CONFIG, command, complete, table
from benchmarks.trial_overhead import write_app
from trimtab.sweep.store import journal

LIMIT = 1.05
REPORTS = 10
TASKS_MS = (50, 0)
PAGE = 4096
GROWTH = 997
"""Bytes by which the limit on files grows; more than the two lines that a start and an end of a trial write."""
STUDIES = 10
"""Studies with different first limits, so that writes are cut anywhere."""


# ---------------------------------------------------------------------------------------------------------------------
# What it costs.


@contextmanager
def in_memory() -> Iterator[None]:
    """The sweeper without its file: nothing is written, and nothing could be resumed."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(journal, "JournalStorage", lambda _: InMemoryStorage()))
        stack.enter_context(patch.object(journal.JournalFile, "_write", lambda *_: None))
        yield


Seconds = tuple[float, float]
"""Wall clock and CPU."""


def sweep(folder: Path, trials: int, task_ms: float) -> Seconds:
    """From the first call of the task to the end of a sweep."""
    begun: list[Seconds] = []

    def task(cfg: DictConfig) -> float:
        begun.append((time.perf_counter(), time.process_time()))
        for step in range(1, REPORTS + 1):
            time.sleep(task_ms / 1e3 / REPORTS)
            trimtab.report(step, cfg.dropout + 1 / step)
        return float(cfg.dropout)

    with tempfile.TemporaryDirectory(dir=folder) as name:
        GlobalHydra.instance().clear()
        given = [f"hydra.sweeper.n_trials={trials}", "hydra.sweeper.progress=none", f"hydra.sweep.dir={name}"]
        sys.argv = ["app", "-m", "hydra/sweeper/sampler=random", *given]
        hydra_main(config_path=str(folder), config_name="config", version_base="1.3")(task)()
        return time.perf_counter() - begun[0][0], time.process_time() - begun[0][1]


def compare(folder: Path, trials: int, task_ms: float, repeats: int) -> list[tuple[Seconds, Seconds]]:
    """Journal and memory of each repeat; the first repeat warms up and is left out."""
    found = []
    for repeat in range(repeats + 1):
        spent = {}
        for on_disk in (True, False) if repeat % 2 else (False, True):
            with nullcontext() if on_disk else in_memory():
                spent[on_disk] = sweep(folder, trials, task_ms)
        found.append((spent[True], spent[False]))
    return found[1:]


def cost(folder: Path, trials: int, repeats: int) -> None:
    """Prints both tasks."""
    write_app(folder)
    os.environ["HYDRA_FULL_ERROR"] = "1"
    for task_ms in TASKS_MS:
        pairs = compare(folder, trials, task_ms, repeats)
        ratios = [a / b for (a, _), (b, _) in pairs]
        memory = statistics.median(1e3 * b / trials for _, (b, _) in pairs)
        wall, cpu = (statistics.median(1e3 * (a[i] - b[i]) / trials for a, b in pairs) for i in (0, 1))
        ratio = statistics.median(ratios)
        limit = "" if not task_ms else f"; limit {LIMIT}: {'held' if ratio <= LIMIT else 'NOT held'}"
        print(f"task of {task_ms:2} ms, {trials} trials, {repeats} pairs: journal / memory {ratio:.3f}", end=" ")
        print(f"({min(ratios):.3f} … {max(ratios):.3f}){limit}; a trial takes {memory:.1f} ms in memory,", end=" ")
        print(f"{wall:+.2f} ms (CPU {cpu:+.2f} ms) on disk", flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# A disk that fills up.


@dataclass(frozen=True)
class Ended:
    """How a call of the sweeper ended."""

    code: int
    said: str

    @property
    def clearly(self) -> bool:
        """Refused in words that say how to go on."""
        return self.code == 2 and "nothing is lost" in self.said and "Traceback" not in self.said


def call(folder: Path, trials: int, out: Path, limit: Callable[[], None]) -> Ended:
    """Sweeps in a forked process, which saves the imports; `limit` is set there."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.dup2(writer, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.close(reader)
        limit()
        os._exit(_swept(folder, command(folder, trials, f"hydra.sweep.dir={out}")[1:]))
    os.close(writer)
    with os.fdopen(reader) as file:
        said = file.read()
    return Ended(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said)


def _swept(folder: Path, argv: list[str]) -> int:
    """Runs the application as `python app.py …` does; its exit code."""
    os.chdir(folder)
    sys.argv = argv
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as e:
        return int(e.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stderr.flush()
    return 0


def until_complete(folder: Path, trials: int, out: Path, limit: Callable[[int], Callable[[], None]]) -> list[Ended]:
    """Repeats a sweep under the limits 0, 1, 2 … until it ends well; how the others ended.

    Args:
        folder: of the application.
        trials: of the study.
        out: its directory.
        limit: of a number makes what is called in the process of the sweep.
    """
    ends: list[Ended] = []
    while (ended := call(folder, trials, out, limit(len(ends)))).code:
        ends.append(ended)
    return ends


@dataclass(frozen=True)
class Filled:
    """A study that is complete after so many ends for want of space.

    Attributes:
        same: whether its table is that of an undisturbed one.
        once: whether each number is there once, and has ended.
    """

    ends: list[Ended]
    same: bool
    once: bool


def filled(folder: Path, trials: int, out: Path, limit: Callable[[int], Callable[[], None]], expected: bytes) -> Filled:
    """See `until_complete`."""
    ends = until_complete(folder, trials, out, limit)
    return Filled(ends, (out / "trials.csv").read_bytes() == expected, complete(out, trials))


def say(what: str, studies: Sequence[Filled]) -> None:
    """Prints what came of them, and how each kind of unclear end reads."""
    ends = [end for study in studies for end in study.ends]
    unclear = Counter((e.said.strip().splitlines() or [""])[-1] for e in ends if not e.clearly)
    same, once = sum(s.same for s in studies), sum(s.once for s in studies)
    print(f"{what}: full {len(ends)} times, {unclear.total()} of them without saying clearly how to go on;", end=" ")
    print(f"table byte-identical to the undisturbed one in {same} of {len(studies)} studies,", end=" ")
    print(f"every number there once in {once}", flush=True)
    for last, count in unclear.most_common():
        print(f"  {count} times: {last}", flush=True)


def limited_files(folder: Path, trials: int, expected: bytes) -> list[Filled]:
    """Limits on the size of every file, which cut the write that reaches them; a study per place of the cuts."""

    def limit(first: int, n: int) -> Callable[[], None]:
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (first + GROWTH * n, resource.RLIM_INFINITY))

    places = range(0, GROWTH, GROWTH // STUDIES)
    return [filled(folder, trials, folder / f"limited-{p}", partial(limit, p), expected) for p in places]


def small_disk(folder: Path, trials: int, expected: bytes) -> list[Filled]:
    """A file system that is one page larger each time; none where none can be mounted."""
    place = folder / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={PAGE}", "tmpfs", str(place)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        print(f"skipped: no file system can be mounted here ({mounted.stderr.strip()}); run it as root")
        return []

    def limit(n: int) -> Callable[[], None]:
        subprocess.run(["mount", "-o", f"remount,size={PAGE * (n + 1)}", str(place)], check=True)
        return lambda: None

    try:
        return [filled(folder, trials, place / "out", limit, expected)]
    finally:
        subprocess.run(["umount", str(place)], check=True)


def disk(folder: Path, trials: int) -> None:
    """Prints both kinds of full."""
    (folder / "conf").mkdir()
    (folder / "app.py").write_text(APP)
    (folder / "conf" / "config.yaml").write_text(CONFIG)
    expected = table(folder, trials, "undisturbed")
    say(f"disk, a page larger each time, study of {trials} trials", small_disk(folder, trials, expected))
    say(f"files, {GROWTH} bytes longer each time, studies of {trials} trials", limited_files(folder, trials, expected))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs", help="on the disk that is measured")
    parser.add_argument("--disk", action="store_true", help="the disk that fills up, instead of the cost")
    parser.add_argument("--disk-trials", type=int, default=6)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name).resolve()
        if args.disk:
            disk(folder, args.disk_trials)
        else:
            cost(folder, args.trials, args.repeats)


if __name__ == "__main__":
    main()
