"""README, Makefile, dvc.yaml and params.yaml agree with what is there."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from projects import Project
from trimtab import config
from trimtab.config import TRIAL_CODE
from trimtab.overrides import overrides

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
DVC: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_targets_that_the_issue_names_exist() -> None:
    assert {"setup", "sweep", "repro", "ui", "report", "test", "lint", "bench", "clean", "help"} <= TARGETS


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make ([a-z-]+)", README))))
def test_targets_in_the_readme_exist(target: str) -> None:
    assert target in TARGETS
    done = subprocess.run(["make", "-n", target, "FILE=x.csv"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_make_alone_prints_help() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "make sweep" in done.stdout
    assert "resumes" in done.stdout


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m (trimtab[.\w]+)", README + str(DVC) + MAKEFILE))))
def test_modules_in_commands_exist(module: str) -> None:
    assert (ROOT / "src" / Path(*module.split("."))).with_suffix(".py").is_file()


def overrides_in_readme() -> list[str]:
    quoted = re.findall(r'ARGS="([^"]+)"', README)
    typed = re.findall(r"trimtab\.stages\.train ([\w.]+=[\w.]+)", README)
    return sorted({override for text in (*quoted, *typed) for override in text.split()})


@pytest.mark.parametrize("override", overrides_in_readme())
def test_overrides_in_the_readme_compose(override: str, project: Project) -> None:
    config.compose(overrides([override]))


def test_paths_in_the_map_exist() -> None:
    blocks = re.findall(r"^## The map\n\n```\n(.*?)```", README, re.MULTILINE | re.DOTALL)
    inside = [line for line in blocks[0].splitlines() if line.startswith("  ")]
    named = [word for line in inside for word in re.findall(r"^\s+((?:[a-z_]+(?:\.py|/) ?)+)", line)]
    paths = [ROOT / "src/trimtab" / word for line in named for word in line.split()]
    assert len(paths) >= 10
    assert [p for p in paths if not p.exists()] == []


def test_readme_is_short_and_names_no_placeholder() -> None:
    assert README.count("\n") <= 150
    assert "@@" not in README


def test_stage_commands_carry_no_overrides() -> None:
    assert {name: stage["cmd"] for name, stage in DVC["stages"].items()} == {
        name: f"env PYTHONPATH=src python -m trimtab.stages.{name}" for name in DVC["stages"]
    }


@pytest.mark.parametrize("stage", ["sweep", "select", "evaluate"])
def test_every_params_key_is_tracked(stage: str) -> None:
    """All of the file, not a list: any override may stand there."""
    assert DVC["stages"][stage]["params"] == [{"params.yaml": None}]


def test_only_evaluate_depends_on_the_sealed_folder() -> None:
    sealed = {n for n, s in DVC["stages"].items() if any("sealed" in d for d in s["deps"])}
    assert sealed == {"evaluate"}


def test_only_the_seal_opens_the_sealed_folder() -> None:
    sources = {
        p.relative_to(ROOT / "src/trimtab").as_posix(): p.read_text() for p in (ROOT / "src/trimtab").rglob("*.py")
    }
    assert {name for name, text in sources.items() if re.search(r"test\.parquet|sealed/|/ SEALED", text)} == {
        "data/seal.py"
    }
    assert {name for name, text in sources.items() if "open_test(" in text} == {"data/seal.py", "stages/evaluate.py"}


def test_dependencies_of_stages_exist() -> None:
    there = [d for s in DVC["stages"].values() for d in s["deps"] if not d.startswith("results/")]
    assert [d for d in there if not (ROOT / d).exists()] == []


def test_only_tracking_imports_mlflow() -> None:
    importing = {
        p.parent.name
        for p in (ROOT / "src").rglob("*.py")
        if re.search(r"^\s*(from|import) mlflow", p.read_text(), re.M)
    }
    assert importing == {"tracking"}


def test_lock_has_exact_versions_and_no_local_build() -> None:
    lines = [x for x in (ROOT / "requirements.lock").read_text().splitlines() if x and not x.lstrip().startswith("#")]
    assert all(re.fullmatch(r"[\w.\[\]-]+==[\w.]+( ;.*)?", line) for line in lines), lines
    assert {"torch==2.13.0", "mlflow==3.17.2"} <= set(lines)


@pytest.mark.parametrize("stage", ["sweep", "select"])
def test_dvc_watches_the_code_that_computes_trials(stage: str) -> None:
    assert {f"src/trimtab/{place}" for place in TRIAL_CODE} <= set(DVC["stages"][stage]["deps"])
