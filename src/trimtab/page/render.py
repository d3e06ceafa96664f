"""The page: figures and tables put into the template beside this file."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import plotly.graph_objects as go
import plotly.io as pio
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from trimtab.figures import style
from trimtab.figures.confusion import confusion
from trimtab.figures.curves import learning_curves
from trimtab.figures.forest import RECIPES, paired_differences, scores_forest
from trimtab.figures.history import history
from trimtab.figures.importance import importance_bars, importances
from trimtab.figures.parallel import parallel_coordinates
from trimtab.figures.residuals import residuals
from trimtab.figures.seeds import seeds
from trimtab.figures.slices import slices
from trimtab.figures.table import Knob, Study, Value
from trimtab.page.results import Evaluation, Results, read_results, setting
from trimtab.page.verdict import verdict
from trimtab.paths import write_text
from trimtab.selection.choose import seeds_in_words
from trimtab.selection.standing import CONSTANT, metric_direction, standing

BEST_TRIALS = 10
CURVES = 5
LISTED_CLASSES = 30


@dataclass(frozen=True)
class Drawing:
    """A figure on the page.

    Attributes:
        id: fixed, since Plotly's own ids are random.
        how: how to read it, in a sentence.
        json: the figure, safe inside a script element.
    """

    id: str
    title: str
    how: str
    json: Markup
    height: int


@dataclass(frozen=True)
class KnobRow:
    """One knob of the champion beside the default's."""

    knob: Knob
    champion: str
    default: str
    changed: bool


def write_report(results: Path, out: Path) -> str:
    """Writes the page `out` from the folder `results`; equal results give equal bytes.

    Returns:
        The verdict in one sentence.

    Raises:
        TrimtabError: prepare, sweep or select has not run, or `out` cannot be written.
    """
    found = read_results(results)
    write_text(out, render(found))
    return verdict(found).headline


def render(results: Results) -> str:
    """The page as HTML, with plotly.js inside; it loads nothing."""
    drawings = {drawing.id: drawing for drawing in _drawings(results)}
    template = files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = style.number
    return environment.from_string(template).render(
        results=results,
        study=results.study,
        data=results.data,
        selection=results.selection,
        evaluation=results.evaluation,
        label=results.evaluation.label if results.evaluation else "",
        verdict=verdict(results),
        drawings=drawings,
        knobs=_knob_rows(results),
        best=_best_rows(results.study),
        metric_names=style.NAMES,
        recipe_names=RECIPES,
        constant=CONSTANT,
        standing=standing,
        score=style.score,
        better=style.better,
        direction=metric_direction,
        listed_classes=LISTED_CLASSES,
        seeds_in_words=seeds_in_words,
        commands=_commands(results),
        plotlyjs=Markup(get_plotlyjs()),  # the library itself: no text of the user's
    )


def _drawings(results: Results) -> Iterator[Drawing]:
    if results.evaluation:
        yield from _test_drawings(results, results.evaluation)
    yield from _sweep_drawings(results)


def _test_drawings(results: Results, evaluation: Evaluation) -> Iterator[Drawing]:
    first = verdict(results).metric
    metrics = sorted(evaluation.scores["champion"], key=lambda metric: metric != first)
    yield _drawing(
        "scores",
        "Scores on the test rows",
        f"Each point is a score, each line its 95% bootstrap interval (resampled: {evaluation.resampled}); "
        "overlapping lines do not mean that recipes are equal, for that read the differences below.",
        scores_forest(evaluation.scores, metrics, evaluation.label),
    )
    yield _drawing(
        "differences",
        "The champion against each baseline",
        "A line that does not touch zero decides (blue: the champion is better, vermillion: it is "
        "worse); a grey one leaves it open.",
        paired_differences(evaluation.differences, metrics, evaluation.label),
    )
    yield _errors(results, evaluation)


def _errors(results: Results, evaluation: Evaluation) -> Drawing:
    table = evaluation.predictions
    actual, predicted = table["target"], table["champion/prediction"]
    if results.data.task == "classification":
        shown = confusion(
            [str(v) for v in actual],
            [str(v) for v in predicted],
            results.data.classes,
            evaluation.label,
        )
        how = "Rows of the diagonal are right; a dark cell off it is a pair of classes mixed up."
        return _drawing("errors", "Which classes are mixed up", how, shown)
    drawn = residuals(
        actual.to_numpy(dtype=float),
        predicted.to_numpy(dtype=float),
        results.data.target,
        evaluation.label,
    )
    how = "Points above the line were predicted too low; a bend or a funnel is structure not learnt."
    return _drawing("errors", "Where the champion errs", how, drawn)


def _sweep_drawings(results: Results) -> Iterator[Drawing]:
    study, selection = results.study, results.selection
    shares = importances(study)
    yield _drawing(
        "seeds",
        "The candidates on fresh seeds",
        "Each point is one training with a new seed, the bar their mean; candidates whose points "
        "mingle differ by luck as much as by settings.",
        seeds(
            [recipe.candidate for recipe in selection.recipes],
            selection.champion.candidate.name,
            selection.seeds,
            study.metric,
            study.direction,
        ),
    )
    yield _drawing(
        "history",
        "History of the sweep",
        "The line is the best so far: while it still falls or climbs at the end, more trials pay.",
        history(study),
    )
    yield _drawing(
        "curves",
        "Learning curves of the best trials and the baseline",
        "Validation (solid) rising while training (dashed) falls is overfitting; both still falling "
        f"at the end asks for more epochs.{' These are the curves of the first fold.' if study.folds > 1 else ''}",
        learning_curves(
            results.curves,
            list(dict.fromkeys([*study.best(CURVES), study.baseline])),
            study.baseline,
            study.metric,
            study.direction,
        ),
    )
    yield _drawing(
        "slices",
        "Each knob against the objective",
        "Look where the good trials gather; at the edge of a range, the range should be widened.",
        slices(study),
    )
    yield _drawing(
        "importances",
        "Which knobs mattered",
        "Share of each knob in reaching the best trials (conditional PED-ANOVA over all finished "
        "trials inside the space, conditional knobs included); knobs are judged one by one, not "
        "together.",
        importance_bars(shares),
    )
    yield _drawing(
        "parallel",
        "Whole configurations",
        "Each line is a trial from its knobs to its value; where the blue lines run together, the "
        "knob has a sweet spot.",
        parallel_coordinates(study),
    )


def _drawing(id: str, title: str, how: str, drawn: go.Figure) -> Drawing:
    # Plotly's own encoder escapes <, > and /; the engine is named since another one may be installed.
    encoded = Markup(pio.to_json(drawn, engine="json"))
    return Drawing(f"figure-{id}", title, how, encoded, int(drawn.layout.height))


def _knob_rows(results: Results) -> list[KnobRow]:
    champion, default = results.selection.champion, results.selection.named("default")
    rows = []
    for knob in results.study.knobs:
        ours = _shown(setting(results, champion, knob.name))
        theirs = _shown(setting(results, default, knob.name)) if default else _baseline(results, knob)
        rows.append(KnobRow(knob, ours, theirs, ours != theirs))
    return rows


def _baseline(results: Results, knob: Knob) -> str:
    if results.study.baseline not in set(results.study.trials["number"]):
        return "–"
    return _shown(results.study.row(results.study.baseline).get(knob.name))


def _shown(value: Value) -> str:
    """Numbers alike, whether they come from a table or from an override."""
    if value is None:
        return "not in play"
    try:
        return style.number(float(value)) if not isinstance(value, bool) else str(value)
    except ValueError:
        return str(value)


def _best_rows(study: Study) -> list[tuple[int, str, str, list[str]]]:
    """Number, value, epochs and knobs of the best trials."""
    epochs = dict(zip(study.trials["number"], study.trials["epochs"], strict=True))
    rows = []
    for number in study.best(BEST_TRIALS):
        asked = study.row(number)
        knobs = [_shown(asked[k.name]) if k.name in asked else "–" for k in study.knobs]
        value = style.number(study.values[number])
        rows.append((number, value, style.number(epochs[number]), knobs))
    return rows


def _commands(results: Results) -> list[tuple[str, str]]:
    model = shlex.quote(f"models:/{results.data.name}@champion")
    opening = [] if results.evaluation else [("dvc repro", "opens the seal and tests the champion")]
    return [
        *opening,
        ("make ui", "compares all runs in MLflow"),
        ("make predict FILE=new.csv", "writes predictions for new rows"),
        ("make serve", f"answers raw rows over HTTP: mlflow models serve -m {model}"),
    ]
