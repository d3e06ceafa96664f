"""The study that params.yaml names: `python -m trimtab.stages.sweep budget.trials=200`. Again: it goes on."""

import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from trimtab import config
from trimtab.overrides import Override, overlaid, overrides, written
from trimtab.paths import Paths, atomic, read_json, write_json
from trimtab.stages.closing import closing
from trimtab.stages.preflight import AUTO, LIKELY, preflight, preload

if TYPE_CHECKING:
    from trimtab.sweep.store.study import Study

CURVES = 5  # trials whose learning curves the report shows, besides the baseline's


def study(argv: Sequence[str], hydra: Sequence[str] = ()) -> tuple[Path, DictConfig] | None:
    """Runs a study to its budget.

    Args:
        argv: what was typed.
        hydra: overrides below the typed ones.

    Returns:
        The study's folder and its baseline's configuration; None where Hydra only printed something.
    """
    from trimtab.stages.train import task

    flags, typed = config.split_flags([*hydra, *argv])
    if flags:
        config.run(task, argv, hydra=hydra, multirun=True)
        return None
    given = overrides(typed)
    cfg = config.compose(given)
    if fixed := fixed_by_experiment(cfg, given):
        argv, given = [*argv, *fixed], overrides([*typed, *fixed])
    modules = preload(cfg)
    if modules:
        argv = [*argv, f"hydra.sweeper.executor.preload=[{','.join(modules)}]"]
    with config.application(task) as app:
        likely = [*argv, f"engine={LIKELY}"] if cfg.hydra.runtime.choices.engine == AUTO else argv
        found = preflight(cfg, swept(cfg, given), modules, lambda: config.rehearse(app, likely, hydra))
        if found.engine is not None:
            print(f"engine {found.engine}: {found.why}")
            argv = [*argv, f"engine={found.engine}"]
        return Path(config.run(task, argv, hydra=hydra, multirun=True, app=app)), cfg


def fixed_by_experiment(cfg: DictConfig, given: Sequence[Override]) -> list[str]:
    """Overrides of the knobs that an experiment sets: like those that are typed, they are not searched.

    Not where the space was named, which then starts from the experiment.

    Args:
        cfg: the baseline's configuration.
        given: the overrides.
    """
    typed, there = {o.key for o in given}, overlaid(given)
    if not there or "search" in typed | there:
        return []
    from trimtab.sweep.space.compose import held

    return [written(key, held(cfg, key)) for key in map(str, cfg.search.knobs) if key in there and key not in typed]


def swept(cfg: DictConfig, given: Sequence[Override]) -> dict[str, str]:
    """What the study searches: each knob and its values as they are written."""
    typed = {o.key: o.text for o in given}
    space = {str(name): str(knob) for name, knob in cfg.search.knobs.items() if name not in typed}
    return space | {o.key: o.text for o in given if o.swept}


def main(argv: list[str] | None = None) -> None:
    """Runs the study and exports what the next stages need."""
    argv = sys.argv[1:] if argv is None else argv
    with config.user_errors():
        done = study(argv)
        if done is None:
            return
        directory, cfg = done
        if cfg.sweep.dry_run:
            print(_estimate(cfg))
        else:
            _say(export(directory, cfg), argv)


def export(directory: Path, cfg: DictConfig) -> dict[str, Any]:
    """Writes results/sweep: the table, curves of the best, and study.json; equal studies give equal files."""
    import pandas as pd

    from trimtab.stages import unpack
    from trimtab.sweep.store.study import open_study
    from trimtab.sweep.store.table import write_table
    from trimtab.trial.result import load_result

    out = Paths.here().stage("sweep")
    found = open_study(directory)
    write_table(found, out / "trials.csv")
    shown = {t.number: t for t in [*found.ranked[:CURVES], *([found.baseline] if found.baseline else [])]}
    frames = [
        pd.DataFrame(load_result(found.folder(t)).curves).assign(trial=number)
        for number, t in sorted(shown.items())
        if t.state.name == "COMPLETE"
    ]
    curves = pd.concat(frames, ignore_index=True).astype({"epoch": int})
    with atomic(out / "curves.parquet") as temporary:
        curves[["trial", "epoch", *curves.columns.drop(["trial", "epoch"])]].to_parquet(temporary, index=False)
    facts = {
        "name": found.name,
        "folder": str(directory.relative_to(Paths.here().project)),
        "data": cfg.data.name,
        "model": cfg.hydra.runtime.choices.model,
        "metric": cfg.objective.metric,
        "direction": found.direction,
        "sampler": cfg.hydra.runtime.choices["hydra/sweeper/sampler"],
        "seed": cfg.seed,
        "folds": cfg.validation.folds,
        "together": found.attributes["pieces"]["configuration"]["engine.size"] > 1,
        "counts": dict(Counter(t.state.name for t in found.finished)),
        "best": _point(found.best),
        "baseline": _point(found.baseline),
        "knobs": found.attributes["knobs"],
        "failures": found.failures,
        "fixed": unpack.fixed(cfg),
    }
    write_json(out / "study.json", facts)
    _write_company(found)
    return facts


def _write_company(found: "Study") -> None:
    """How large the stacks were that trials were trained in: beside the study, since a rerun may differ."""
    from trimtab.sweep.store.study import facts
    from trimtab.trial.result import CLOCK

    complete = [t for t in found.finished if t.state.name == "COMPLETE" and (found.folder(t) / CLOCK).is_file()]
    shared = [float(read_json(found.folder(t) / CLOCK).get("stack_epochs", 0.0)) for t in complete]
    epochs = list(zip((float(facts(t)["epochs"] or 0) for t in complete), shared, strict=True))
    company = {
        "member_epochs": sum(own for own, _ in epochs),
        "stack_epochs": round(sum(shared for _, shared in epochs), 3),
        "solo_trials": sum(own == shared for own, shared in epochs),
        "trials": len(epochs),
    }
    write_json(found.directory / "population.json", company)


def _estimate(cfg: DictConfig) -> str:
    """How long the whole study may take, from one epoch of the baseline on this machine."""
    from trimtab.data.prepared import load_prepared
    from trimtab.stages import unpack
    from trimtab.trial.train import train

    data = load_prepared(Paths.here().prepared, unpack.each_fold(cfg)[0])
    recipe = replace(unpack.recipe(cfg), epochs=1)
    warm = [train(recipe, data.train, data.val, data.problem, cfg.seed, unpack.device(cfg)) for _ in range(3)]
    epoch_s, steps = min(r.seconds for r in warm), warm[0].steps
    trainings = cfg.budget.trials * cfg.validation.folds
    total_s = epoch_s * cfg.training.epochs * trainings / cfg.sweep.workers
    each = f" on {cfg.validation.folds} folds" if cfg.validation.folds > 1 else ""
    return (
        f"one epoch of the baseline ({steps:,} steps) takes {epoch_s:.2f} s here: about {total_s:.0f} s for "
        f"{cfg.budget.trials} trials{each} of {cfg.training.epochs} epochs ({steps * cfg.training.epochs:,} steps) on "
        f"{cfg.sweep.workers} workers; larger networks take longer, early stopping makes it less"
    )


def _point(trial: Any) -> dict[str, Any] | None:
    return None if trial is None else {"number": trial.number, "value": trial.value}


def _say(facts: dict[str, Any], typed: Sequence[str]) -> None:
    best, baseline, counts = facts["best"], facts["baseline"], facts["counts"]
    against = f"; baseline {baseline['value']:.4g}" if baseline and baseline["value"] is not None else ""
    folds = f" of {facts['folds']} folds" if facts["folds"] > 1 else ""
    words = {"PRUNED": "pruned", "FAIL": "failed"}
    failed = "".join(f", {counts[state]} {word}" for state, word in words.items() if state in counts)
    closing(
        [
            f"best {facts['metric']} {best['value']:.4g} in trial {best['number']}{against} "
            f"({sum(counts.values())} trials{folds}{failed})",
            *_failures(facts["failures"], sum(counts.values())),
        ],
        Paths.here().stage("sweep") / "trials.csv",
        f"{_next(typed)}; `make ui` compares the runs",
    )


FEW = 0.1
"""The share of trials that may fail without a word: some of a wide space diverge."""


def _failures(reasons: Mapping[str, int], trials: int) -> list[str]:
    """The most frequent reason that trials failed by, if more than a few did."""
    if sum(reasons.values()) <= FEW * trials:
        return []
    reason, count = next(iter(reasons.items()))
    return [f"{count} failed by: {shorten(reason, 200, placeholder=' …')} (all: `make status`)"]


def _next(typed: Sequence[str]) -> str:
    """What confirms this study: the pipeline reads params.yaml, and knows nothing of what was typed."""
    if not typed:
        return "`dvc repro` (or `make repro`) confirms, tests and explains"
    fixed = [text for text in typed if not Override(text, "").swept]  # the others are the study's knobs
    return (
        f"`python -m trimtab.stages.select {shlex.join(fixed)}` confirms, `evaluate` and `report` with the same "
        "test and explain; with what you typed in params.yaml `dvc repro` does all of it"
    )


if __name__ == "__main__":
    main()
