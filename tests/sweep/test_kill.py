"""Real processes, really killed: the table is that of the undisturbed sweep."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from sweep_app import App, write_app

from trimtab.errors import SweepError
from trimtab.sweep.store.study import open_study

TRIALS = "hydra.sweeper.n_trials=14"
EARLY = ["hydra.sweeper.sampler.n_startup_trials=2", "hydra.sweeper.lag=4"]  # so that few trials suffice to learn
SAMPLERS = {"tpe": EARLY, "random": ["hydra/sweeper/sampler=random", "hydra.sweeper.lag=4"]}
PROCESSES = ["hydra/sweeper/executor=processes"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Tables by sampler, made inline."""
    tables = {}
    for sampler, chosen in SAMPLERS.items():
        app = write_app(tmp_path_factory.mktemp("undisturbed") / sampler)
        done = app.run(TRIALS, *chosen)
        assert done.returncode == 0, done.stderr
        tables[sampler] = app.table()
    return tables


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_table_does_not_depend_on_the_workers(
    app: App, undisturbed: dict[str, str], sampler: str, workers: int
) -> None:
    arguments = [*SAMPLERS[sampler], f"hydra.sweeper.n_jobs={workers}", "sleep=0.02"]
    done = app.run(TRIALS, *PROCESSES, *arguments)
    assert done.returncode == 0, done.stderr
    assert app.table() == undisturbed[sampler]


def test_two_workers_give_the_table_of_none_and_a_killed_one_is_replaced(app: App, undisturbed: dict[str, str]) -> None:
    done = app.run(TRIALS, *EARLY, *PROCESSES, "hydra.sweeper.n_jobs=2", "fail=[3,7]", "sleep=0.01")
    assert done.returncode == 0, done.stderr
    assert app.table() == undisturbed["tpe"]
    assert open_study(app.out).trials[3].user_attrs["starts"] == 2
    assert "[app][INFO]" not in done.stdout
    assert "[app][INFO] - opt" in (app.out / "5" / "console.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_killed_at_random_moments_it_resumes_to_the_same_table(
    app: App, undisturbed: dict[str, str], executor: str
) -> None:
    moments = random.Random(executor)
    arguments = [TRIALS, *EARLY, f"hydra/sweeper/executor={executor}", "hydra.sweeper.n_jobs=2", "sleep=0.05"]
    arguments.append("hydra.sweeper.max_starts=1000")
    for _ in range(8):
        with app.start(*arguments) as process:
            time.sleep(moments.uniform(0.8, 4.0))
            process.kill()
    done = app.run(*arguments)
    assert done.returncode == 0, done.stderr
    assert app.table() == undisturbed["tpe"]
    assert [t.number for t in open_study(app.out).trials] == list(range(14))


@pytest.mark.slow
def test_interrupted_it_says_how_to_go_on(app: App, undisturbed: dict[str, str]) -> None:
    arguments = [TRIALS, *EARLY, *PROCESSES, "hydra.sweeper.n_jobs=2", "sleep=0.3"]
    with app.start(*arguments) as process:
        wait_for_trials(app, 4)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "the same command goes on" in out
    assert "Traceback" not in err
    assert all(t.user_attrs["starts"] == 0 for t in open_study(app.out).trials if not t.state.is_finished())
    assert app.run(*arguments, "sleep=0").returncode == 0
    assert app.table() == undisturbed["tpe"]


def test_a_second_sweep_is_refused_and_leaves_the_first_alone(app: App) -> None:
    with app.start("hydra.sweeper.n_trials=100", "sleep=0.2") as first:
        wait_for_trials(app, 1)
        second = app.run("hydra.sweeper.n_trials=2")
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=30)
    assert second.returncode == 2
    assert f"process {first.pid}" in second.stderr
    assert "Traceback" not in second.stderr


def wait_for_trials(app: App, count: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(SweepError):
            if len(open_study(app.out).trials) >= count:
                return
        time.sleep(0.05)
    raise AssertionError("no trials")


def test_importing_the_plugin_is_light() -> None:
    heavy = "{'optuna', 'torch', 'rich', 'pandas', 'pebble', 'cloudpickle', 'numpy'}"
    code = (
        f"import sys, trimtab, hydra_plugins.trimtab_sweeper.trimtab_sweeper\nprint(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_inline_needs_only_the_base_dependencies(app: App) -> None:
    blocked = "'rich', 'pebble', 'cloudpickle', 'torch', 'pandas', 'psutil'"
    hook = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in ({blocked},):\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    script = Path(app.folder / "app.py")
    script.write_text(hook + script.read_text())
    done = app.run("hydra.sweeper.n_trials=3", "hydra.sweeper.progress=live")
    assert done.returncode == 0, done.stderr
    refused = app.run("hydra.sweeper.n_trials=4", *PROCESSES, "hydra.sweep.dir=other")
    assert refused.returncode == 2
    assert "pip install 'trimtab[all]'" in refused.stderr
