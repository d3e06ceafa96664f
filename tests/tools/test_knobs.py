"""docs/knobs.md is what conf/ and docs/knobs.yaml say, and they say something of every knob."""

import shutil
from pathlib import Path

import pytest
import yaml

from projects import ROOT, Project
from trimtab.stages.unpack import RECIPE
from trimtab.tools.knobs import TAGS, Book, complaints, main, read, render

GROUPS_TO_CHOOSE = {"model", "optimizer", "schedule", "augmentation"}
OTHER_KNOBS = {"engine.precision"}


@pytest.fixture(scope="module")
def book() -> Book:
    return read(ROOT / "conf", ROOT / "docs/knobs.yaml")


def written_knobs() -> list[tuple[str, str]]:
    """(option's file, knob) of every setting of a recipe, by a reader that knows nothing of comments."""
    files = sorted(f for group in RECIPE for f in (ROOT / "conf" / group).glob("*.yaml"))
    settings = ((f, key) for f in files for key in yaml.safe_load(f.read_text()))
    return [(f.stem, f"{f.parent.name}.{key}") for f, key in settings if key != "defaults" and not key.startswith("_")]


@pytest.mark.parametrize(("option", "knob"), written_knobs())
def test_every_setting_of_a_recipe_is_a_knob_with_tags_and_words(book: Book, option: str, knob: str) -> None:
    (setting,) = (s for s in book.settings.get(knob, ()) if s.option == option)
    assert setting.tags
    assert set(setting.tags) <= set(TAGS)
    assert setting.effect


def test_nothing_else_is_a_knob(book: Book) -> None:
    assert set(book.settings) == {knob for _, knob in written_knobs()} | GROUPS_TO_CHOOSE | OTHER_KNOBS


@pytest.mark.parametrize("knob", sorted({knob for _, knob in written_knobs()} | GROUPS_TO_CHOOSE | OTHER_KNOBS))
def test_every_knob_has_a_range_a_role_both_ends_and_a_source(book: Book, knob: str) -> None:
    assert book.ranges[knob]["role"] in ("scientific", "nuisance")
    note = book.notes["knobs"][knob]
    assert all(note[part].count("\n") == 0 and note[part] for part in ("too_low", "too_high"))
    assert set(note["source"]) <= set(book.notes["sources"])
    assert note["source"]
    assert note["with"]


def test_nothing_is_missing_or_left_over(book: Book) -> None:
    assert list(complaints(book)) == []


def test_the_page_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    main(["--check"])


def test_a_row_has_all_that_is_known(book: Book) -> None:
    row = next(line for line in render(book).splitlines() if line.startswith("| `optimizer.momentum`"))
    cells = [cell.strip() for cell in row.strip("|").split(" | ")]
    assert cells[:4] == [
        "`optimizer.momentum` (sgd)",
        "speed, stability",
        "`0.9`",
        "0 … 0.99; nuisance; in `cnn`, `gru`, `linear`, `mlp`",
    ]
    assert cells[5] == book.notes["knobs"]["optimizer.momentum"]["too_low"]
    assert cells[7] == "`optimizer.lr`, `training.batch_size`"
    assert cells[8] == "[^sutskever2013][^smith2018]"


@pytest.fixture
def documented(project: Project) -> Path:
    shutil.copytree(ROOT / "docs", project.root / "docs")
    return project.root


SGD, ALL, NOTES = "conf/optimizer/sgd.yaml", "conf/search/all.yaml", "docs/knobs.yaml"
WRONG = [
    (SGD, "[speed, stability] up: faster", "[spede] up: faster", "did you mean 'speed'"),
    (SGD, "[speed, stability] up: faster", "[speed, stability]\n# up: faster", "has tags and no words"),
    (SGD, "# [speed] true", "# true", "'optimizer.nesterov', whose line in conf/ has no tags"),
    (SGD, "momentum: 0.9 ", "momentum: 0.8 ", "run `python -m trimtab.tools.knobs`"),
    (ALL, "  optimizer.nesterov:", "  # optimizer.nesterov:", "no space in conf/search has 'optimizer.nesterov'"),
    (ALL, '(0.3, 1.0)", role: scientific', '(0.3, 1.0)"', "'model.taper' has no role"),
    (NOTES, "  model.taper:\n    too_low:", "  model.taper:\n    low:", "gives 'model.taper' no 'too_low'"),
    (NOTES, "  training.epochs:\n", "  training.epoch:\n", "gives 'training.epochs' no 'too_low'"),
    (NOTES, "\nknobs:\n", "\nknobs:\n  modle: {}\n", "describes 'modle', which conf/ does not have"),
    (NOTES, "source: [larochelle2009]", "source: [larochele2009]", "did you mean 'larochelle2009'"),
    (NOTES, "sources:\n", 'sources:\n  nobody2000: "x"\n', "'nobody2000', which nothing cites"),
    (NOTES, "[optimizer.lr, optimizer.momentum]\n    text", "[momentum]\n    text", "names 'momentum'"),
]


@pytest.mark.parametrize(("file", "old", "new", "said"), WRONG)
def test_what_does_not_fit_is_named(
    documented: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, said: str
) -> None:
    text = (documented / file).read_text()
    assert old in text
    (documented / file).write_text(text.replace(old, new, 1))
    page = (documented / "docs/knobs.md").read_text()
    with pytest.raises(SystemExit) as ended:
        main(["--check"])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert (documented / "docs/knobs.md").read_text() == page


def test_without_check_it_writes_the_page(documented: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (documented / "docs/knobs.md").unlink()
    main([])
    assert (documented / "docs/knobs.md").read_text() == (ROOT / "docs/knobs.md").read_text()
    assert "where: docs/knobs.md" in capsys.readouterr().out
