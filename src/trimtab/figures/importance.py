"""Which knobs made the difference between the good trials and the rest."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import optuna
import plotly.graph_objects as go
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from trimtab.figures import style
from trimtab.figures.table import Knob, Study

ENOUGH_TRIALS = 15


def importances(study: Study) -> dict[str, float]:
    """Share of every knob in reaching the best tenth of the trials (at least five), greatest first.

    Conditional PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255; arXiv:2601.20800 for conditions), as
    in Optuna: deterministic, and other than fANOVA it covers knobs that are in play in some trials
    only. It compares knob by knob, so what two knobs do together counts for neither. Trials outside
    the space, as a baseline may be, are left out.

    Returns:
        Shares that sum to 1; empty with fewer than `ENOUGH_TRIALS` usable trials or without any
        difference between them.
    """
    with _quiet():
        rebuilt = _rebuild(study)
        count = len(rebuilt.trials)
        if count < ENOUGH_TRIALS or len({t.value for t in rebuilt.trials}) == 1:
            return {}
        quantile = max(0.1, 5 / count)
        shares = optuna.importance.get_param_importances(
            rebuilt,
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile),
        )
    ranked = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return dict(ranked) if sum(shares.values()) > 0 else {}


def importance_bars(shares: Mapping[str, float]) -> go.Figure:
    """A bar per knob, the greatest on top."""
    if not shares:
        return style.blank(
            f"Importances need at least {ENOUGH_TRIALS} finished trials of different value: raise budget.trials."
        )
    names = list(shares)[::-1]
    drawn = style.figure(
        96 + 30 * len(names),
        xaxis={
            "title": {"text": "share of the importance"},
            "tickformat": ".0%",
            "range": [0, 1.12 * max(shares.values())],
        },
        yaxis={"ticks": "", "showgrid": False},
        bargap=0.35,
    )
    drawn.add_bar(
        x=[shares[name] for name in names],
        y=[style.shortened(name, 40) for name in names],
        orientation="h",
        marker={"color": style.BLUE},
        text=[f"{shares[name]:.0%}" for name in names],
        textposition="outside",
        cliponaxis=False,
        hovertext=[f"{style.safe(name)}: {shares[name]:.1%}" for name in names],
        hoverinfo="text",
    )
    return drawn


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna announces every study it makes and warns of ties, which the figure says itself."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _rebuild(study: Study) -> optuna.Study:
    """The study in memory, from its table."""
    rebuilt = optuna.create_study(direction=study.direction)
    always = {knob.name for knob in study.knobs if not knob.when}
    for number, value in study.values.items():
        setting = study.row(number)
        used = [knob for knob in study.knobs if knob.name in setting]
        if always <= set(setting) and all(knob.holds(setting[knob.name]) for knob in used):
            spaces = {knob.name: _distribution(knob) for knob in used}
            rebuilt.add_trial(optuna.trial.create_trial(params=setting, distributions=spaces, value=value))
    return rebuilt


def _distribution(knob: Knob) -> BaseDistribution:
    if knob.kind == "choice":
        return CategoricalDistribution(knob.choices)
    if knob.kind == "int":
        return IntDistribution(int(knob.low), int(knob.high), log=knob.log)
    return FloatDistribution(knob.low, knob.high, log=knob.log)
