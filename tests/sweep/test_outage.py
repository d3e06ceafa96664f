"""What is not a trial's fault ends the sweep in one line, and the same command then goes on as if nothing had been."""

import errno
import resource
import shutil
from collections.abc import Callable

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from optuna.trial import FrozenTrial
from sweep_app import App, objective, write_app

from trimtab.errors import DiskError, Outage
from trimtab.sweep.store.study import Study, open_study

Sweep = Callable[..., None]
TRIALS = "hydra.sweeper.n_trials=6"
EXECUTORS = {"inline": [], "processes": ["hydra/sweeper/executor=processes", "hydra.sweeper.n_jobs=2"]}
OUTAGES = {
    "the server is gone": 'raise Outage("the server is gone; start it")',
    "wrapped": 'raise RuntimeError("wrapped") from Outage("wrapped: the server is gone")',
    "No space left on device; free some space": 'Path("/dev/full").write_bytes(b"x")',
    "weights.bin: File too large; free some space": (
        'with SmallDisk(), atomic(folder / "weights.bin") as path: path.write_bytes(bytes(9999))'
    ),
}
BROKEN = """
import resource
import shutil
from trimtab.errors import Outage
from trimtab.paths import atomic

class SmallDisk:
    def __enter__(self):
        self.limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, self.limits[1]))
    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)

def broken(number, folder):
    if number == 3 and not Path("happened").exists():
        Path("happened").touch()
        {outage}
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    app = write_app(tmp_path_factory.mktemp("undisturbed") / "app")
    assert app.run(TRIALS).returncode == 0
    return app.table()


def break_once(app: App, outage: str) -> None:
    """Trial 3 meets the outage the first time."""
    script = app.folder / "app.py"
    text = script.read_text().replace("\n@hydra.main", f"{BROKEN.format(outage=outage)}\n@hydra.main")
    script.write_text(text.replace("    if number in", "    broken(number, folder)\n    if number in"))


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("said", OUTAGES)
def test_an_outage_ends_the_sweep_and_the_same_command_goes_on(
    app: App, undisturbed: str, said: str, executor: str
) -> None:
    break_once(app, OUTAGES[said])
    stopped = app.run(TRIALS, *EXECUTORS[executor])
    assert stopped.returncode == 2, stopped.stderr
    assert "Traceback" not in stopped.stderr + stopped.stdout
    assert stopped.stderr.startswith("error: ")
    assert said in stopped.stderr
    assert stopped.stderr.count("\n") == 1
    trial = open_study(app.out).trials[3]
    assert (trial.state.name, trial.user_attrs["starts"]) == ("RUNNING", 0)
    assert app.run(TRIALS, *EXECUTORS[executor]).returncode == 0
    assert app.table() == undisturbed


def test_a_benign_os_error_is_the_trials_own(app: App, sweep: Sweep) -> None:
    def task(cfg: DictConfig) -> float:
        if HydraConfig.get().job.num == 1:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        return objective(cfg)

    sweep(task, "hydra.sweeper.n_trials=3")
    assert [t.state.name for t in open_study(app.out).trials] == ["COMPLETE", "FAIL", "COMPLETE"]


@pytest.mark.parametrize(
    ("in_the_way", "is_folder"),
    [("out", False), ("out/multirun.yaml", True), ("out/study.lock", True)],
)
def test_something_in_place_of_the_sweeps_files_is_named(app: App, in_the_way: str, is_folder: bool) -> None:
    path = app.folder / in_the_way
    path.parent.mkdir(exist_ok=True)
    if is_folder:
        path.mkdir()
    else:
        path.touch()
    done = app.run(TRIALS)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: cannot write {in_the_way}")
    assert "move away what lies in its place" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_full_from_the_start_is_said(app: App, sweep: Sweep) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(DiskError, match=r"cannot write .*study.lock: File too large; free some space"):
            sweep(objective, TRIALS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.slow
def test_a_disk_that_fills_on_the_way_is_said_wherever_it_does(app: App, sweep: Sweep) -> None:
    """The journal may grow no further, at every one of its writes and in the middle of them."""
    sweep(objective, "hydra.sweeper.n_trials=4")
    table, size = app.table(), (app.out / "study.journal").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    refused = 0
    for most in range(size // 2, size + 1, 389):
        shutil.rmtree(app.out)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
        try:
            sweep(objective, "hydra.sweeper.n_trials=4")
        except DiskError as e:
            refused += "File too large; free some space, then run the same command again" in str(e)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        sweep(objective, "hydra.sweeper.n_trials=4")
        assert app.table() == table, most
    assert refused > 3


ENDED: list[str] = []


class Watcher:
    """Keeps that it was told of the end; does what its name says."""

    def __init__(self, finished: str = "", ended: str = "", name: str = "plain") -> None:
        self.raised = {"finished": finished, "ended": ended}
        self.name = name

    def started(self, study: Study) -> None:
        pass

    def finished(self, study: Study, trial: FrozenTrial) -> None:
        self._maybe_raise("finished")

    def ended(self, study: Study) -> None:
        ENDED.append(self.name)
        self._maybe_raise("ended")

    def _maybe_raise(self, when: str) -> None:
        if self.raised[when]:
            raise {"interrupt": KeyboardInterrupt, "outage": Outage, "bug": ZeroDivisionError}[self.raised[when]](when)


@pytest.mark.parametrize(
    ("finished", "raised"), [("", ZeroDivisionError), ("outage", Outage), ("interrupt", SystemExit)]
)
def test_an_error_at_the_end_skips_no_watcher_and_hides_no_other_error(
    app: App, sweep: Sweep, finished: str, raised: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    ENDED.clear()
    target = "_target_: test_outage.Watcher"
    first = f"{{{target}, name: first, ended: bug}}"
    second = f"{{{target}, name: second, ended: outage}}"
    third = f"{{{target}, name: third, finished: '{finished}'}}"
    with pytest.raises(raised) as caught:
        sweep(objective, "hydra.sweeper.n_trials=2", f"hydra.sweeper.callbacks=[{first},{second},{third}]")
    assert ENDED == ["first", "second", "third"]
    assert str(caught.value) == {"": "ended", "outage": "finished", "interrupt": "130"}[finished]
