"""What the test says, in plain sentences."""

from dataclasses import dataclass
from typing import Literal

from trimtab.figures.forest import RECIPES, Standing, standing
from trimtab.figures.style import NAMES, number, score
from trimtab.page.results import Evaluation, Results
from trimtab.selection.bootstrap import Interval
from trimtab.selection.choose import seeds_in_words

Tone = Literal["good", "bad", "open", "sealed"]
WORDS: dict[Standing, str] = {
    "better": "is clearly better than",
    "worse": "is clearly worse than",
    "undecided": "cannot be told apart from",
}
ESTIMATES = {
    "model": "This number estimates this one trained model: the weights that were registered.",
    "recipe": "This number estimates the recipe: what training it again gives on average.",
}


@dataclass(frozen=True)
class Line:
    """The champion against one other recipe, in one sentence."""

    recipe: str
    standing: Standing
    text: str


@dataclass(frozen=True)
class Verdict:
    """The first thing on the page.

    Attributes:
        tone: good: better than every baseline; bad: one of them is better; open: neither; sealed.
        metric: the metric that decides; empty while sealed.
        lead: the first paragraph.
        lines: one per baseline.
        notes: what the number is, and what it is not.
    """

    tone: Tone
    headline: str
    metric: str
    lead: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def headline_metric(objective: str, task: str, known: dict[str, Interval]) -> str:
    """The metric that decides: the objective itself, or the readable stand-in for a loss.

    Accuracy stands in for classification, R² for regression.
    """
    name = objective.rpartition("/")[2]
    stand_in = "accuracy" if task == "classification" else "r2"
    wished = (stand_in if name == "loss" else name, stand_in)
    return next((metric for metric in wished if metric in known), next(iter(known)))


def verdict(results: Results) -> Verdict:
    """What can be said: of the test if the seal was opened, of validation alone otherwise."""
    if results.evaluation is None:
        return _sealed(results)
    return _tested(results, results.evaluation)


def _sealed(results: Results) -> Verdict:
    lead = (
        f"{_upper(results.untested).rstrip('.')}. The champion is {_champion(results)}; nobody has seen how it does on "
        "rows that took no part in choosing it, so there is no number to defend yet."
    )
    return Verdict("sealed", "Not tested yet", "", lead, (), (_validation(results),))


def _tested(results: Results, evaluation: Evaluation) -> Verdict:
    scores = evaluation.scores
    metric = headline_metric(results.study.metric, results.data.task, scores["champion"])
    itself = {"default"} if _is_default(results) else set()
    comparable = (n for n, found in evaluation.differences.items() if metric in found and n not in itself)
    lines = tuple(_line(name, metric, evaluation) for name in comparable)
    winners = [line.recipe for line in lines if line.standing == "worse"]
    reached = (
        f"On {evaluation.rows} held-out test rows the champion ({_champion(results)}) reaches "
        f"{NAMES[metric]} {_interval(scores['champion'][metric], metric)}."
    )
    notes = (
        *(["The sweep found nothing better than the default configuration."] if itself else []),
        ESTIMATES[evaluation.estimates],
        f"“Clearly” means that the 95% interval of the paired difference in {NAMES[metric]} on the "
        "same test rows excludes zero.",
        *_by_objective(results, evaluation, metric),
        _validation(results),
    )
    tone, headline = _headline(lines, winners)
    return Verdict(tone, headline, metric, _warning(winners) + reached, lines, notes)


def _headline(lines: tuple[Line, ...], winners: list[str]) -> tuple[Tone, str]:
    if winners:
        verb = "beats" if len(winners) == 1 else "beat"
        return "bad", f"{_upper(_listed(winners))} {verb} the champion"
    undecided = [line.recipe for line in lines if line.standing == "undecided"]
    if undecided:
        return "open", f"The champion cannot be told apart from {_listed(undecided, 'or')}"
    return "good", "The champion beats every baseline"


def _warning(winners: list[str]) -> str:
    """What the first paragraph opens with if a baseline wins."""
    if not winners:
        return ""
    them = "it" if len(winners) == 1 else "one of them"
    wins = "wins" if len(winners) == 1 else "win"
    return (
        f"{_upper(_listed(winners))} {wins} on these data: use {them} instead of the tuned network "
        "unless something other than the score speaks for the network. "
    )


def _line(name: str, metric: str, evaluation: Evaluation) -> Line:
    difference = evaluation.differences[name][metric]
    decided = standing(difference, metric)
    if difference == Interval(0.0, 0.0, 0.0):
        return Line(name, decided, f"It does exactly as well as {_recipe(name)} on every resample.")
    return Line(
        name,
        decided,
        f"It {WORDS[decided]} {_recipe(name)}, which reaches "
        f"{score(evaluation.scores[name][metric].value, metric)}: "
        f"difference {_interval(difference, metric, signed=True)}.",
    )


def _by_objective(results: Results, evaluation: Evaluation, metric: str) -> tuple[str, ...]:
    """Says where the sweep's own objective comes to another conclusion."""
    own = results.study.metric.rpartition("/")[2]
    if own == metric:
        return ()
    others: dict[Standing, list[str]] = {}
    for name, found in evaluation.differences.items():
        if own in found and metric in found:
            decided = standing(found[own], own)
            if decided != standing(found[metric], metric):
                others.setdefault(decided, []).append(name)
    said = (f"{WORDS[decided]} {_listed(names)}" for decided, names in others.items())
    text = " and ".join(said)
    own_name = NAMES.get(own, own)
    return (f"By {own_name}, which the sweep optimised, the champion {text}.",) if text else ()


def _validation(results: Results) -> str:
    champion = results.selection.champion.candidate
    seeds = seeds_in_words(len(champion.values), results.study.folds)
    several = len(champion.values) > 1
    over = f"standard deviation {number(champion.std, 2)} over {seeds}" if several else f"on {seeds}"
    return (
        f"In validation it reached {results.study.metric} {number(champion.mean)} ({over}). "
        "That score helped to choose it, so it flatters: don't quote it."
    )


def _champion(results: Results) -> str:
    return "the default configuration itself" if _is_default(results) else results.selection.champion.candidate.name


def _is_default(results: Results) -> bool:
    chosen = results.selection.champion.candidate
    return chosen.name == "default" or chosen.trial == results.study.baseline


def _recipe(name: str) -> str:
    return {"default": "the default", "classic": "the classic untuned start"}.get(name, RECIPES.get(name, name))


def _listed(names: list[str], word: str = "and") -> str:
    *first, last = (_recipe(name) for name in names)
    return f"{', '.join(first)} {word} {last}" if first else last


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _interval(found: Interval, metric: str, *, signed: bool = False) -> str:
    value, low, high = (score(v, metric, signed=signed) for v in (found.value, found.low, found.high))
    return f"{value} (95% interval {low} to {high})"
