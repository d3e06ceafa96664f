"""docs/sweeper.md does what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_store import ConfigStore

from hydra_plugins.trimtab_sweeper import config  # registers the options
from trimtab.sweep.build import settings as build
from trimtab.sweep.samplers.sampler import Sampler
from trimtab.sweep.space.grammar import parse
from trimtab.sweep.space.knobs import Space

DOC = (Path(__file__).parents[2] / "docs" / "sweeper.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", DOC, re.DOTALL)
YAML = [text for kind, text in BLOCKS if kind == "yaml"]
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
SAMPLERS = {n.removesuffix(".yaml") for n in ConfigStore.instance().list("hydra/sweeper/sampler")}


def test_the_first_example_runs_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text(YAML[0])
    (tmp_path / "app.py").write_text(PYTHON[0])
    command = re.findall(r"^\$ python (app\.py \S+ \S+) ", DOC, re.MULTILINE)[0].split()
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "20 of 20 trials done" in done.stdout
    for name in re.findall(r"`(study\.journal|trials\.csv|optimization_results\.yaml)`", DOC):
        assert (tmp_path / "out" / name).is_file()


def test_the_space_with_conditions_is_one() -> None:
    params = yaml.safe_load(YAML[1])["params"]
    space = Space.of(parse(params, [], ConfigLoaderImpl(create_config_search_path(None))).knobs)
    assert space.names == {"optimizer", "optimizer.lr", "optimizer.momentum"}


def test_every_key_that_it_names_exists() -> None:
    named = set(re.findall(r"hydra\.sweeper\.(\w+)", DOC)) | set(re.findall(r"^\| `(\w+):", DOC, re.MULTILINE))
    named -= {"sampler"} if "sampler" in named else set()
    known = set(config.TrimtabSweeperConf.__dataclass_fields__) | {"n_jobs", "range"}
    assert {n for n in named if n not in known} == set()


def test_every_sampler_has_a_row_and_says_when_to_take_it() -> None:
    table = DOC.split("## Who proposes")[1].split("##")[0]
    rows = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert rows == SAMPLERS - {"nsgaii", "motpe"}


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_every_sampler_can_be_made_and_says_when_to_take_it(name: str) -> None:
    node = ConfigStore.instance().load(f"hydra/sweeper/sampler/{name}.yaml").node
    sampler: Sampler = build({"sampler": node, "executor": None}).sampler
    assert sampler.can is not None
    said = next(c.__doc__ for c in vars(config).values() if getattr(c, "_target_", None) == node._target_)
    assert "Take it" in (said or "")
