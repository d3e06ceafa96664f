"""What `hydra.sweeper.dry_run=true` prints: the space, its size, what would run and how long."""

from collections.abc import Sequence
from itertools import islice
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from trimtab.errors import SweepError
from trimtab.sweep.settings import Settings
from trimtab.sweep.space.knobs import Space
from trimtab.sweep.store.study import Study

HEADER = ("knob", "kind", "values", "scale", "role", "only when")
COUNTED = 100_000


def preview(
    space: Space,
    sampler: str,
    study: Study | None,
    directory: Path,
    total: int,
    workers: int,
    settings: Settings,
) -> str:
    """The text of a dry run; `study` is what is already there."""
    finished = len(study.finished) if study else 0
    remaining = max(0, total - finished)
    rows = [HEADER, *(_row(name, d) for name, d in space.describe().items())]
    return "\n".join(
        [
            *columns(rows),
            f"size: {_size(space)}",
            f"would run {remaining} of {total} trials ({finished} finished) on {workers} "
            f"worker{'s' * (workers > 1)}, sampler {sampler}{_further(settings)}, in {directory}",
            _duration(study, remaining, workers),
            "dry run: no trial was run, nothing was written",
        ]
    )


def _further(settings: Settings) -> str:
    """What else there is to each trial."""
    found = f", up to {settings.population.size} together" if settings.population.size > 1 else ""
    found += f", each on {settings.seeds} seeds" if settings.seeds > 1 else ""
    found += f", each on {settings.folds} folds" if settings.folds > 1 else ""
    if settings.pruner is not None and not settings.pruner.idle:
        pauses = ", which pauses" if getattr(settings.pruner, "pause", False) else ""
        found += f", pruner {type(settings.pruner).__name__.lower()}{pauses}"
    return found


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with the cells aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]


def duration(seconds: float) -> str:
    """Seconds in the largest unit that suits: 12 s, 4 min, 2.5 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _row(name: str, knob: dict[str, Any]) -> tuple[str, ...]:
    if knob["choices"] is not None:
        values = ", ".join(map(str, knob["choices"]))
    else:
        values = f"{knob['low']} … {knob['high']}"
        values += f" step {knob['step']}" if knob["step"] not in (None, 1) else ""
    when = ", ".join(f"{k} = {v}" for k, v in (knob["when"] or {}).items())
    scale = "" if knob["choices"] is not None else "log" if knob["log"] else "linear"
    return (name, knob["kind"], values, scale, knob["role"] or "", when)


def _size(space: Space) -> str:
    try:
        count = sum(1 for _ in islice(space.points(), COUNTED))
    except SweepError:
        return f"continuous ({len(space.knobs)} knobs)"
    return f"{count:,} point{'s' * (count != 1)}" if count < COUNTED else f"more than {COUNTED:,} points"


def _duration(study: Study | None, remaining: int, workers: int) -> str:
    seconds = [t.user_attrs["seconds"] for t in study.finished] if study else []
    if not seconds:
        return "time: no trial has been timed yet"
    each = median(seconds)
    total = duration(each * ceil(remaining / workers))
    return f"time: about {total} (median trial {each:.1f} s)"
