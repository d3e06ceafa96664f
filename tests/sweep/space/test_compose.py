"""A configuration from the cache equals the one that Hydra composes."""

from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf
from sweep_app import App

from trimtab.sweep.space.compose import Composer


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["x=2.5"],
        ["opt=sgd"],
        ["opt.lr=1e-05", "opt=sgd", "opt.momentum=0.5"],
        ["+new=1", "x=${n}", "deep.list=[3,4]"],
        ["~x", "++deep.leaf=2", "+opt@second=sgd"],
        ["~opt", "x='a=b, c'"],
        ["deep={leaf: 5}", "deep.leaf=6"],
        ["opt={lr: 3}", "opt.lr=4"],
    ],
)
def test_the_cache_changes_nothing(app: App, overrides: list[str]) -> None:
    with initialize_config_dir(str(app.folder / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        typed = ["hydra.job.config.override_dirname.exclude_keys=[x]", "n=1,2"]
        master = loader.load_configuration("config", typed, RunMode.MULTIRUN)
        expected = loader.load_sweep_config(master, overrides)
        composer = Composer(loader, master)
        for _ in range(2):
            made = composer.compose(overrides)
            assert OmegaConf.to_yaml(made) == OmegaConf.to_yaml(expected)
            assert OmegaConf.is_struct(made) == OmegaConf.is_struct(expected)
            made.hydra.job.name = "changed"


def test_the_sweep_directory_is_literal_in_a_job(app: App) -> None:
    with initialize_config_dir(str(app.folder / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", ["hydra.sweep.dir=out/${x}"], RunMode.MULTIRUN)
        cfg = Composer(loader, master).job(["x=5.0"], 7, Path(master.hydra.sweep.dir))
        assert cfg.hydra.sweep.dir == "out/1.0"
        assert (cfg.hydra.job.num, cfg.hydra.job.id) == (7, "7")
