"""Hydra's own suites for launchers, run against the sweeper: a job is a job, whoever launches it.

They look at what a sweep returns; ours returns its directory, so a Hydra callback collects the jobs. A grid without
baseline runs each of `a=1,2` once; in its own order, so jobs are sorted by their overrides.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite
from hydra.test_utils.test_utils import SweepTaskFunction, verify_dir_outputs
from hydra.version import _UNSPECIFIED_, VersionBase
from omegaconf import DictConfig

OURS = [
    "hydra/sweeper=trimtab",
    "hydra/sweeper/sampler=grid",
    "hydra.sweeper.baseline=false",
    "hydra.sweeper.n_trials=1000",
    "hydra.sweeper.progress=none",
]
JOBS: list[JobReturn] = []


class Collect(Callback):
    """Keeps what Hydra's basic sweeper would have returned."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        JOBS.append(job_return)


class Runner(SweepTaskFunction):
    def __enter__(self) -> "Runner":
        JOBS.clear()
        super().__enter__()
        self.returns = [sorted(JOBS, key=lambda job: list(job.overrides or ()))]
        return self


@pytest.fixture
def hydra_sweep_runner(monkeypatch: pytest.MonkeyPatch) -> Callable[..., SweepTaskFunction]:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    # As in a fresh process: the suites expect Hydra's oldest behaviour, and other tests choose a version.
    monkeypatch.setattr(VersionBase.instance(), "version_base", _UNSPECIFIED_)

    def make(
        calling_file: str | None,
        calling_module: str | None,
        task_function: Any,
        config_path: str | None,
        config_name: str | None,
        overrides: list[str] | None,
        temp_dir: Path | None = None,
        configure_logging: bool = False,
    ) -> SweepTaskFunction:
        runner = Runner()
        runner.calling_file, runner.calling_module = calling_file, calling_module
        runner.task_function = task_function
        runner.config_path, runner.config_name = config_path, config_name
        collect = "+hydra.callbacks.collect._target_=test_hydra_suites.Collect"
        runner.overrides = [collect, *(overrides or [])]
        runner.temp_dir = str(temp_dir)
        runner.configure_logging = configure_logging
        return runner

    return make


@pytest.mark.parametrize(("launcher_name", "overrides"), [("basic", OURS)])
class TestAsALauncher(LauncherTestSuite):
    @pytest.mark.skip(reason="its task returns text, which is no objective")
    def test_sweep_with_custom_resolver(self, launcher_name: str, overrides: list[str]) -> None:  # type: ignore[override]
        pass

    def test_sweep_and_override(
        self, hydra_sweep_runner: Any, launcher_name: str, overrides: list[str], tmpdir: Path
    ) -> None:
        """As in the suite, but that fixed overrides are written before swept ones, not as typed."""
        typed = ["hydra/launcher=" + launcher_name, "db=mysql,postgresql", "db.user=someone"]
        module = "hydra.test_utils.a_module"
        with hydra_sweep_runner(None, module, None, "configs", "db_conf.yaml", typed + overrides, tmpdir) as sweep:
            jobs = sweep.returns[0]
            assert [job.overrides for job in jobs] == [["db.user=someone", f"db={d}"] for d in ("mysql", "postgresql")]
            assert [job.cfg.db.user for job in jobs] == ["someone"] * 2
            assert [job.cfg.db.driver for job in jobs] == ["mysql", "postgresql"]
            for job in jobs:
                verify_dir_outputs(job, job.overrides)


@pytest.mark.parametrize(("task_launcher_cfg", "extra_flags"), [({}, ["-m", *OURS, "hydra.job.chdir=true"])])
class TestIntegration(IntegrationTestSuite):
    def generate_custom_cmd(self) -> Callable[..., list[str]]:
        """The suite's applications return nothing; here they must return their objective."""

        def command(cmd: list[str], filename: str) -> list[str]:
            shutil.rmtree("cli_dir", ignore_errors=True)  # the same directory would resume, and run nothing
            script = Path(filename)
            script.write_text(script.read_text().replace("\nif __name__", "\n    return 0.0\n\nif __name__"))
            return cmd

        return command
