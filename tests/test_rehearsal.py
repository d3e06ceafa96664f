"""What was composed for a sweep while its workers' imports went on is not composed again."""

from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.types import RunMode

from trimtab import config


def task(cfg: Any) -> None: ...


@pytest.mark.parametrize(("typed", "composed"), [(["seed=7"], 0), (["seed=8"], 1)])
def test_only_what_is_the_same_is_taken_for_it(
    typed: list[str], composed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    compose = ConfigLoaderImpl.load_configuration

    def counted(self: ConfigLoaderImpl, *args: Any, **how: Any) -> Any:
        calls.append(how["overrides"])
        return compose(self, *args, **how)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counted)
    with config.application(task) as app:
        config.rehearse(app, ["seed=7"])
        calls.clear()
        texts = config._of_multirun(config.overrides(typed))
        found = app.compose_config("config", texts, run_mode=RunMode.MULTIRUN)
        assert found.seed == int(typed[0].removeprefix("seed="))
        assert len(calls) == composed
        assert app.compose_config("config", texts, run_mode=RunMode.MULTIRUN) is not found
        assert len(calls) == composed + 1
