"""The page says what the files say, loads nothing, and believes no name."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from sample_results import REGRESSION, Sample, write_sample
from trimtab.errors import TrimtabError
from trimtab.figures.table import Study
from trimtab.page import write_report
from trimtab.page.results import read_results
from trimtab.page.verdict import verdict
from trimtab.paths import read_json, write_json
from trimtab.selection.bootstrap import Interval

HOSTILE = "</script><script>alert(1)</script>"
TESTED = {"figure-scores", "figure-differences", "figure-errors"}
SWEPT = {f"figure-{n}" for n in ("seeds", "history", "curves", "slices", "importances", "parallel")}
Build = Callable[[Sample], Path]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Results folders by sample, made once each; read only."""
    made: dict[Sample, Path] = {}

    def one(sample: Sample) -> Path:
        if sample not in made:
            made[sample] = write_sample(tmp_path_factory.mktemp("it's a results") / "results", sample)
        return made[sample]

    return one


def _page(folder: Path, out: Path) -> str:
    write_report(folder, out)
    return out.read_text(encoding="utf-8").replace(get_plotlyjs(), "")


def _sealed(folder: Path, copy: Path, note: str | None) -> Path:
    """The same results before the test; without a note, evaluate has not run at all."""
    for part in ("prepare", "sweep", "select"):
        (copy / part).mkdir(parents=True)
        for file in (folder / part).iterdir():
            (copy / part / file.name).write_bytes(file.read_bytes())
    if note is not None:
        write_json(copy / "evaluate" / "metrics.json", {"sealed": True, "note": note})
    return copy


class _Elements(HTMLParser):
    """Every start tag of a page, and every address that it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [f"{name}={value}" for name, value in attrs if name in ("src", "srcset", "data")]
        if tag == "link":
            self.loads.append(str(attrs))


def _figures(page: str) -> dict[str, dict[str, object]]:
    pattern = r'<script type="application/json" data-figure="([^"]+)">(.*?)</script>'
    return {name: json.loads(text) for name, text in re.findall(pattern, page, re.DOTALL)}


@pytest.mark.parametrize(
    "sample",
    [Sample(), REGRESSION, Sample(trials=1), Sample(trials=5, keep=0)],
    ids=["classification", "regression", "one trial", "all others failed"],
)
def test_page_has_every_figure_and_loads_nothing(build: Build, sample: Sample, tmp_path: Path) -> None:
    page = _page(build(sample), tmp_path / "report.html")
    assert set(_figures(page)) == TESTED | SWEPT
    assert "http://" not in page
    assert "https://" not in page
    assert _Elements(page).loads == []
    assert "url(" not in page
    assert "@import" not in page


def test_same_results_give_the_same_bytes(build: Build, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_report(build(Sample()), tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_page_carries_plotly_once_and_shuts_the_network_out(build: Build, tmp_path: Path) -> None:
    write_report(build(Sample()), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count(get_plotlyjs()) == 1
    assert "default-src 'none'" in page
    assert "modeBarButtons:" in page  # a whitelist: Plotly's default set uploads figures
    assert "sendChartToCloud" not in page.replace(get_plotlyjs(), "")


@pytest.mark.parametrize("note", [None, "A DVC experiment stops before the seal."])
def test_before_the_test_there_is_no_score(build: Build, tmp_path: Path, note: str | None) -> None:
    folder = _sealed(build(Sample()), tmp_path / "results", note)
    page = _page(folder, tmp_path / "report.html")
    assert set(_figures(page)) == SWEPT
    assert "Not tested yet" in page
    assert (note or "has not run yet") in page
    assert "dvc repro" in page
    assert "make predict FILE=new.csv" in page
    assert verdict(read_results(folder)).tone == "sealed"


@pytest.mark.parametrize(
    ("sample", "tone", "headline"),
    [
        (Sample().with_quality(boosting=0.5), "good", "The champion beats every baseline"),
        (Sample(), "open", "The champion cannot be told apart from gradient boosting"),
        (Sample().with_quality(boosting=1.6), "bad", "Gradient boosting beats the champion"),
        (
            Sample().with_quality(boosting=1.6, logistic=1.6),
            "bad",
            "Logistic regression and gradient boosting beat the champion",
        ),
    ],
    ids=["wins", "undecided", "boosting", "two"],
)
def test_verdict(build: Build, sample: Sample, tone: str, headline: str) -> None:
    said = verdict(read_results(build(sample)))
    assert (said.tone, said.headline, said.metric) == (tone, headline, "accuracy")
    assert [line.recipe for line in said.lines] == ["default", "classic", "logistic", "boosting", "constant"]


@pytest.mark.parametrize(
    ("sample", "headline", "lead"),
    [
        (
            Sample().with_quality(champion=0.01, classic=0.01),
            r"The champion is no better than always answering the same: accuracy 0\.1\d+ against 0\.1667",
            r"By accuracy nothing speaks for the network: a constant, the class shares of the training rows, cannot be "
            r"told apart from it\. The default, logistic regression and gradient boosting beat the network\. On 360",
        ),
        (
            REGRESSION.with_quality(champion=0.01),
            r"The champion is clearly worse than always answering the same: R² −\S+ against −0\.0\d+",
            r"By R² nothing speaks for the network: a constant, the mean of the training rows, does clearly better\. "
            r"The default, the classic untuned start, ridge regression and gradient boosting beat the network\. On 360",
        ),
    ],
    ids=["no better", "worse"],
)
def test_a_champion_that_does_not_beat_a_constant_is_no_win(
    build: Build, tmp_path: Path, sample: Sample, headline: str, lead: str
) -> None:
    said = verdict(read_results(build(sample)))
    assert said.tone == "bad"
    assert re.fullmatch(headline, said.headline), said.headline
    assert re.match(lead, said.lead), said.lead
    page = _page(build(sample), tmp_path / "report.html")
    assert f'<section class="verdict bad" id="verdict">\n<h2>{said.headline}</h2>' in page


def test_the_constant_stands_in_the_table_and_says_what_it_is(build: Build, tmp_path: Path) -> None:
    page = _page(build(REGRESSION), tmp_path / "report.html")
    assert '<th scope="row">constant answer</th>' in page
    assert "The constant answer looks at no feature: it is the mean of the same rows." in page
    assert "constant answer" in json.dumps(_figures(page)["figure-differences"])


def test_results_from_before_the_constant_still_have_a_verdict(build: Build) -> None:
    results = read_results(build(Sample().with_quality(boosting=0.5)))
    assert results.evaluation is not None
    differences = {name: found for name, found in results.evaluation.differences.items() if name != "constant"}
    said = verdict(replace(results, evaluation=replace(results.evaluation, differences=differences)))
    assert said.headline == "The champion beats every baseline"


@pytest.mark.parametrize(
    ("seeds", "validation", "section"),
    [
        (1, r"\(on one fresh seed\)\. That score", "chosen by its value on one fresh seed;"),
        (3, r"\(standard deviation \S+ over 3 fresh seeds\)\. That score", "chosen by its mean over 3 fresh seeds;"),
    ],
)
def test_one_seed_shows_no_spread(build: Build, tmp_path: Path, seeds: int, validation: str, section: str) -> None:
    folder = build(replace(Sample(), seeds=seeds))
    assert re.search(validation, verdict(read_results(folder)).notes[-1])
    assert section in _page(folder, tmp_path / "report.html")


def test_a_winning_baseline_opens_the_first_paragraph(build: Build, tmp_path: Path) -> None:
    page = _page(build(Sample().with_quality(boosting=1.6)), tmp_path / "report.html")
    lead = re.search(r'<p class="lead">(.*?)</p>', page)
    assert lead is not None
    assert lead[1].startswith("Gradient boosting wins on these data: use it instead")
    assert page.index("Gradient boosting beats the champion") < page.index(lead[0]) < page.index("<figure>")


def test_scores_on_the_page_are_those_of_metrics_json(build: Build, tmp_path: Path) -> None:
    folder = build(Sample())
    stored = read_json(folder / "evaluate" / "metrics.json")
    page = _page(folder, tmp_path / "report.html")
    for scores in stored["scores"].values():
        assert f"{scores['accuracy']['value']:.4f}" in page
        assert f"{scores['accuracy']['low']:.4f} to {scores['accuracy']['high']:.4f}" in page


@pytest.mark.parametrize(
    ("resampled", "said"),
    [
        (None, "rows"),
        ("rows", "rows"),
        ("groups of patient", "groups of patient"),
        ("groups of <b>", "groups of &lt;b&gt;"),
    ],
)
def test_page_says_what_was_resampled(build: Build, tmp_path: Path, resampled: str | None, said: str) -> None:
    folder = tmp_path / "results"
    shutil.copytree(build(Sample()), folder)
    file = folder / "evaluate" / "metrics.json"
    entry = {name: value for name, value in read_json(file).items() if name != "resampled"}
    write_json(file, entry | ({"resampled": resampled} if resampled else {}))
    page = _page(folder, tmp_path / "report.html")
    assert f"95% bootstrap intervals, for which {said} of the test set were resampled." in page
    assert f"95% bootstrap interval (resampled: {said})" in page


@pytest.mark.parametrize("look", [1, 3])
def test_a_later_look_is_labelled_wherever_the_score_stands(build: Build, tmp_path: Path, look: int) -> None:
    page = _page(build(replace(Sample(), look=look)), tmp_path / "report.html")
    label = f"Exploratory: look number {look}"
    figures = _figures(page)
    labelled = {name for name in figures if label in json.dumps(figures[name])}
    assert labelled == (TESTED if look > 1 else set())
    assert page.count(f'<span class="label">{label}') == (2 if look > 1 else 0)


def test_a_loss_objective_that_disagrees_is_mentioned(build: Build) -> None:
    results = read_results(build(Sample()))
    assert results.evaluation is not None
    differences = {
        "default": {"accuracy": Interval(0.1, 0.05, 0.15), "loss": Interval(0.1, -0.1, 0.2)},
        "boosting": {"accuracy": Interval(0.1, 0.05, 0.15), "loss": Interval(0.1, 0.05, 0.2)},
    }
    notes = verdict(replace(results, evaluation=replace(results.evaluation, differences=differences))).notes
    expected = (
        "By loss, which the sweep optimised, the champion cannot be told apart from the default "
        "and is clearly worse than gradient boosting."
    )
    assert expected in notes


def test_identical_predictions_are_called_so(build: Build) -> None:
    results = read_results(build(Sample()))
    assert results.evaluation is not None
    same = {"default": {"accuracy": Interval(0.0, 0.0, 0.0)}}
    said = verdict(replace(results, evaluation=replace(results.evaluation, differences=same)))
    assert said.lines[0].text == "It does exactly as well as the default on every resample."


def test_a_default_that_nothing_beats_is_not_compared_with_itself(build: Build, tmp_path: Path) -> None:
    said = verdict(read_results(build(Sample(trials=1))))  # trial 0 is all there is
    assert "the default configuration itself" in said.lead
    assert "The sweep found nothing better than the default configuration." in said.notes
    assert "default" not in [line.recipe for line in said.lines]


def test_champions_knobs_stand_beside_the_defaults(build: Build, tmp_path: Path) -> None:
    folder = build(Sample())
    page = _page(folder, tmp_path / "report.html")
    study = Study.read(folder / "sweep")
    (best,) = study.best(1)
    width = int(float(str(study.row(best)["model.width"])))
    assert f'<code>model.width</code></th><td class="n">{width}</td><td class="n">64</td>' in page


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    sample = Sample(name=HOSTILE, target=f"{HOSTILE}<b>", classes=(HOSTILE, "<a href='x'>b</a>", "%{x}"))
    folder = write_sample(tmp_path / "results", sample)
    for file, key in (("study.json", "failures"), ("study.json", "knobs")):
        entry = read_json(folder / "sweep" / file)
        value = next(iter(entry[key].values()), 1)
        entry[key][HOSTILE] = value
        write_json(folder / "sweep" / file, entry)
    page = _page(folder, tmp_path / "report.html")
    elements = _Elements(page)
    assert elements.tags.count("script") == 2 + len(TESTED | SWEPT)
    assert "b" not in elements.tags
    assert "alert(1)</script>" not in page
    drawn = json.dumps(_figures(page), ensure_ascii=False)
    assert "alert(1)" in drawn
    assert "<script" not in drawn
    assert "<a " not in drawn


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("prepare/manifest.json", "prepare"),
        ("sweep/study.json", "sweep"),
        ("sweep/curves.parquet", "sweep"),
        ("sweep/trials.csv", "sweep"),
        ("select/champion.json", "select"),
    ],
)
def test_a_missing_file_names_its_stage_and_leaves_no_page(build: Build, tmp_path: Path, file: str, stage: str) -> None:
    folder = _sealed(build(Sample()), tmp_path / "results", None)
    (folder / file).unlink()
    with pytest.raises(TrimtabError, match=stage):
        write_report(folder, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
