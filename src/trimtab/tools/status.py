"""How a study stands, running or stopped: `python -m trimtab.tools.status [DIRECTORY]`. Writes nothing."""

import argparse
import fcntl
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from trimtab import config
from trimtab.errors import SweepError
from trimtab.paths import Paths
from trimtab.sweep.executors.machine import changes, machine
from trimtab.sweep.preview import columns, duration
from trimtab.sweep.store import database
from trimtab.sweep.store.journal import FILE, LOCK
from trimtab.sweep.store.study import Study, open_stored, open_study, params

LAST = 50
"""Trials from which the pace is told."""


def main(argv: list[str] | None = None) -> None:
    """Prints the study of a directory, or of the latest sweep below it."""
    parser = argparse.ArgumentParser(prog="python -m trimtab.tools.status", description=__doc__)
    where = "a sweep's (hydra.sweep.dir); default: the latest in runs/"
    parser.add_argument("directory", nargs="?", type=Path, help=where)
    parser.add_argument("--storage", help="postgresql://… of a study that machines share")
    parser.add_argument("--study", help="its name there")
    args = parser.parse_args(argv)
    with config.user_errors():
        if args.storage:
            print("\n".join(stored(args.storage, args.study)))
            return
        found = studies(args.directory or Paths.here().runs)
        print("\n".join(lines(found[0])))
        if len(found) > 1:
            print(f"{len(found) - 1} more: {', '.join(str(f) for f in found[1:6])}{' …' if len(found) > 6 else ''}")


def studies(directory: Path) -> list[Path]:
    """Directories of studies at or below `directory`, the one that was written last first.

    Raises:
        SweepError: there is none.
    """
    marks = [p for name in (FILE, database.FILE) for depth in ("", "*/", "*/*/") for p in directory.glob(depth + name)]
    if not marks:
        raise SweepError(f"{directory} holds no study ({FILE}) at or below it; name the directory of a sweep")
    newest = sorted(marks, key=lambda p: p.stat().st_mtime, reverse=True)
    return list(dict.fromkeys(p.parent for p in newest))


def lines(directory: Path) -> list[str]:
    """What there is to say of a study in a directory."""
    study, holder = open_study(directory), _holder(directory)
    total = _total(directory)
    return [
        f"study {study.name} in {directory}",
        *described(study, total, f"running, process {holder}" if holder else _rest(study, total)),
    ]


def stored(url: str, name: str | None) -> list[str]:
    """What there is to say of a study in a database, or which studies it has."""
    if name is None:
        names = sorted(s.study_name for s in database.connect(url).get_all_studies())
        return [f"{database.hidden(url)} has the studies {', '.join(names) or 'none'}; name one with --study"]
    study = open_stored(url, name, Path())
    return [f"study {name} in {database.hidden(url)}", *described(study, None, "shared: see which trials run")]


def described(study: Study, total: int | None, state: str) -> Iterator[str]:
    """Counts, best, pace, running trials, failures, machine."""
    counts = Counter(t.state.name.lower() for t in study.trials)
    yield f"{state}; {len(study.finished)}{f' of {total}' if total else ''} trials done ({_counted(counts)})"
    yield from _best(study)
    if pace := _pace(study.finished[-LAST:]):
        left = (total or 0) - len(study.finished)
        yield f"pace: a trial every {pace:.3g} s" + (f", about {duration(pace * left)} left" if left > 0 else "")
    running = [t for t in study.trials if t.state == TrialState.RUNNING]
    yield from (f"  trial {t.number} since {_clock(t.datetime_start)}, {_knobs(t)}" for t in running)
    if study.failures:
        rows = [("failures", ""), *((f"  {count} ×", text) for text, count in list(study.failures.items())[:5])]
        yield from columns(rows)
    if found := changes(study.attributes.get("machine", {}), machine()):
        yield f"begun on another machine than this: {found}"


def _best(study: Study) -> Iterator[str]:
    if len(study.directions) > 1:
        yield f"Pareto front: trials {', '.join(str(t.number) for t in study.front) or 'none'}"
    elif study.best is not None:
        base = study.baseline
        against = f", baseline {base.value:.6g}" if base is not None and base.value is not None else ""
        yield f"best {study.best.value:.6g}{against}: trial {study.best.number}, {_knobs(study.best)}"


def _pace(trials: list[FrozenTrial]) -> float:
    """Seconds from one trial's end to the next, at the last; 0 if that is not known."""
    ends = sorted(t.datetime_complete for t in trials if t.datetime_complete)
    return (ends[-1] - ends[0]).total_seconds() / (len(ends) - 1) if len(ends) > 1 else 0.0


def _rest(study: Study, total: int | None) -> str:
    return "complete" if total is not None and len(study.finished) >= total else "stopped; the same command goes on"


def _holder(directory: Path) -> str:
    """The process that sweeps the study; empty if none does."""
    try:
        with (directory / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return (directory / LOCK).read_text().strip() or "unknown"
    except OSError:
        return ""
    return ""


def _total(directory: Path) -> int | None:
    """The budget of the latest call; None if it cannot be told outside of Hydra."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        cfg: Any = OmegaConf.load(directory / "multirun.yaml")
        return int(cfg.hydra.sweeper.n_trials)
    except (OSError, OmegaConfBaseException, TypeError, ValueError):
        return None


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.most_common()) or "none yet"


def _knobs(trial: FrozenTrial) -> str:
    return " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in params(trial).items())


def _clock(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "unknown"


if __name__ == "__main__":
    main()
