"""What makes a study another study, and what does not."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from sweep_app import App

from trimtab.sweep.space.fingerprint import fingerprint


def of(app: App, *overrides: str) -> str:
    with initialize_config_dir(str(app.folder / "conf"), version_base="1.3"):
        return fingerprint(compose("config", list(overrides), return_hydra_config=True))


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("hydra.sweeper.n_trials=99", True),
        ("hydra.sweeper.n_jobs=3", True),
        ("hydra/sweeper/executor=processes", True),
        ("hydra.sweep.dir=elsewhere", True),
        ("hydra.sweeper.progress=quiet", True),
        ("sleep=1", True),
        ("kind=b", False),
        ("opt.lr=0.2", False),
        ("hydra.sweeper.seed=1", False),
        ("hydra.sweeper.baseline=false", False),
        ("hydra/sweeper/sampler=random", False),
        ("hydra.sweeper.direction=maximize", False),
        ("hydra.sweeper.params.n='range(1,9)'", False),
        ("hydra.sweeper.params.n={values: 'range(1, 5)', role: nuisance}", True),
    ],
)
def test_what_counts(app: App, override: str, same: bool) -> None:
    assert (of(app, override) == of(app)) == same


def test_interpolations_of_hydra_stand_as_written(app: App) -> None:
    written = "kind=${hydra:job.num}"
    assert of(app, written) == of(app, written, "hydra.job.name=other") != of(app)


def test_a_resolver_can_put_it_into_the_directory(app: App) -> None:
    OmegaConf.register_new_resolver("test_study", lambda *, _root_: fingerprint(_root_), replace=True)
    with initialize_config_dir(str(app.folder / "conf"), version_base="1.3"):
        cfg = compose("config", ["hydra.sweep.dir='runs/${test_study:}'"], return_hydra_config=True)
        assert cfg.hydra.sweep.dir == f"runs/{fingerprint(cfg)}"
