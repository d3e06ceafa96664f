"""What the test says, in plain sentences."""

from dataclasses import dataclass
from typing import Literal

from trimtab.figures.forest import RECIPES
from trimtab.figures.style import NAMES, number, score
from trimtab.page.results import Evaluation, Intervals, Results
from trimtab.selection.bootstrap import Interval
from trimtab.selection.choose import seeds_in_words
from trimtab.selection.standing import ALWAYS, CONSTANT, Standing, headline_metric, reproach, standings

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
        tone: good: better than every baseline; bad: one of them is better, or a constant is as good; open: neither;
            sealed.
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
    metric = headline_metric(results.study.metric, scores["champion"])
    stands = standings(evaluation.differences, metric)
    itself = _is_default(results)
    if itself:
        stands.pop("default", None)
    lines = tuple(_line(name, stand, metric, evaluation) for name, stand in stands.items())
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
    tone, headline = _headline(stands, metric, scores)
    lead = (_nothing_learnt(stands, metric, results.data.task) or _warning(_winners(stands))) + reached
    return Verdict(tone, headline, metric, lead, lines, notes)


def _headline(stands: dict[str, Standing], metric: str, scores: Intervals) -> tuple[Tone, str]:
    useless = reproach(stands)
    if useless:
        ours, constant = (score(scores[name][metric].value, metric) for name in ("champion", CONSTANT))
        return "bad", f"The champion is {useless}: {NAMES[metric]} {ours} against {constant}"
    winners = _winners(stands)
    if winners:
        return "bad", _beating(winners, "the champion")
    undecided = [name for name, stand in stands.items() if stand == "undecided"]
    if undecided:
        return "open", f"The champion cannot be told apart from {_listed(undecided, 'or')}"
    return "good", "The champion beats every baseline"


def _winners(stands: dict[str, Standing]) -> list[str]:
    """The baselines that beat the champion; of the constant `reproach` speaks."""
    return [name for name, stand in stands.items() if stand == "worse" and name != CONSTANT]


def _beating(winners: list[str], whom: str) -> str:
    return f"{_upper(_listed(winners))} {'beats' if len(winners) == 1 else 'beat'} {whom}"


def _nothing_learnt(stands: dict[str, Standing], metric: str, task: str) -> str:
    """What the first paragraph opens with if the champion does not clearly beat the constant."""
    stand = stands.get(CONSTANT, "better")
    if stand == "better":
        return ""
    what = "the class shares" if task == "classification" else "the mean"
    does = "does clearly better" if stand == "worse" else "cannot be told apart from it"
    winners = _winners(stands)
    others = f"{_beating(winners, 'the network')}. " if winners else ""
    return (
        f"By {NAMES[metric]} nothing speaks for the network: a constant, {what} of the training rows, {does}. {others}"
    )


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


def _line(name: str, decided: Standing, metric: str, evaluation: Evaluation) -> Line:
    difference = evaluation.differences[name][metric]
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
    by_metric = standings(evaluation.differences, metric)
    others: dict[Standing, list[str]] = {}
    for name, decided in standings(evaluation.differences, own).items():
        if decided != by_metric.get(name, decided):
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
    said = {"default": "the default", "classic": "the classic untuned start", CONSTANT: ALWAYS}
    return said.get(name, RECIPES.get(name, name))


def _listed(names: list[str], word: str = "and") -> str:
    *first, last = (_recipe(name) for name in names)
    return f"{', '.join(first)} {word} {last}" if first else last


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _interval(found: Interval, metric: str, *, signed: bool = False) -> str:
    value, low, high = (score(v, metric, signed=signed) for v in (found.value, found.low, found.high))
    return f"{value} (95% interval {low} to {high})"
