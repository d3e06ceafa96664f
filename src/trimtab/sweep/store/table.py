"""trials.csv and optimization_results.yaml: deterministic text, so that equal studies are equal files."""

import csv
import io
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, TrialState

from trimtab.paths import atomic, write_text
from trimtab.sweep.store.study import Study, by_seed, facts, params

Row = dict[str, str]


def table(study: Study) -> list[Row]:
    """A row of text cells per finished trial, sorted by number.

    Columns: number, state, value (values.0, values.1, … of several objectives), what tasks recorded,
    constraint.<name>, by_seed.<i> or by_fold.<i>, seed (the first of several), params.<knob>; empty where a trial has
    none. A pruned trial's value is its last report, or the mean over its seeds or folds so far.
    """
    trials = study.finished
    recorded = sorted({name for t in trials for name in facts(t)})
    limited = sorted({name for t in trials for name in t.constraints})
    parts = [f"by_{study.repeated}.{i}" for i in range(max((len(by_seed(t)) for t in trials), default=0))]
    knobs = sorted({name for t in trials for name in params(t)})
    return [_row(t, _objectives(study), recorded, limited, parts, knobs) for t in trials]


def write_table(study: Study, path: Path) -> None:
    """Writes the table of a study to `path`, whole or not at all."""
    rows = table(study)
    text = io.StringIO()
    header = list(rows[0]) if rows else ["number", "state", *_objectives(study), "seed"]
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_best(study: Study, path: Path) -> None:
    """Writes the best trial, or the Pareto front, as the official Optuna sweeper does; nothing if none completed."""
    found: dict[str, Any] | None = None
    if len(study.directions) > 1:
        solutions = [{"params": params(t), "values": list(t.values)} for t in study.front]
        found = {"name": "optuna", "solutions": solutions} if solutions else None
    elif (best := study.best) is not None:
        found = {"name": "optuna", "best_params": params(best), "best_value": best.value}
    if found is not None:
        write_text(path, OmegaConf.to_yaml(OmegaConf.create(found)))


def write_front(study: Study, path: Path) -> None:
    """Draws several objectives against each other; nothing with one, or where plotly is not installed."""
    completed = [t for t in study.trials if t.state == TrialState.COMPLETE]
    if len(study.directions) == 1 or not completed:
        return
    try:
        from trimtab.figures.pareto import pareto
    except ImportError:
        return
    points = [(t.number, tuple(t.values)) for t in completed]
    baseline = study.baseline.number if study.baseline else None
    drawn = pareto(points, [t.number for t in study.front], _objectives(study), study.directions, baseline)
    with atomic(path) as temporary:
        drawn.write_html(temporary, include_plotlyjs="directory", config={"displaylogo": False})


def _objectives(study: Study) -> list[str]:
    """Columns of the objectives, named as Optuna's dataframe does."""
    count = len(study.directions)
    return ["value"] if count == 1 else [f"values.{i}" for i in range(count)]


def _row(
    trial: FrozenTrial,
    objectives: list[str],
    recorded: list[str],
    limited: list[str],
    parts: list[str],
    knobs: list[str],
) -> Row:
    noted, chosen = facts(trial), params(trial)
    return {
        "number": str(trial.number),
        "state": trial.state.name,
        **dict(zip(objectives, map(repr, trial.values) if trial.values else [""] * len(objectives), strict=True)),
        **{name: _cell(noted, name) for name in recorded},
        **{f"constraint.{name}": _cell(dict(trial.constraints), name) for name in limited},
        **{name: _cell(dict(zip(parts, by_seed(trial), strict=False)), name) for name in parts},
        "seed": str(trial.user_attrs["seed"]),
        **{f"params.{name}": _cell(chosen, name) for name in knobs},
    }


def _cell(values: dict[Any, Any], name: Any) -> str:
    """As Hydra writes it: null, true, 0.1; empty if absent."""
    if name not in values:
        return ""
    value = values[name]
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else repr(value)
