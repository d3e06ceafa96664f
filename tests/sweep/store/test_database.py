"""A study in PostgreSQL: a real server, started for these tests from Debian's packages."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sweep_app import App, write_app

from trimtab.sweep.store.database import hidden
from trimtab.sweep.store.study import open_stored

TRIALS = ["hydra.sweeper.n_trials=12", "hydra.sweeper.lag=4", "sleep=0.01"]
ASYNC = "hydra.sweeper.schedule=async"


def binaries() -> Path | None:
    """Where initdb is: in PATH, or where Debian puts it."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return debian[-1].parent if debian else None


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Its address; PostgreSQL refuses to run as root, so root runs it as nobody."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'trimtab[postgresql]'")
    folder = binaries()
    if folder is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="trimtab-postgres-") as root:  # pytest's folders are closed to nobody
        user = "nobody" if os.geteuid() == 0 else None
        if user:
            os.chown(root, pwd.getpwnam(user).pw_uid, -1)
        port = 20000 + os.getpid() % 20000
        run = partial(subprocess.Popen, cwd=root, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with run([str(folder / "initdb"), "-D", "data", "-U", "trimtab", "--auth=trust", "--no-sync"]) as init:
            assert init.wait() == 0
        command = [str(folder / "postgres"), "-D", "data", "-p", str(port), "-k", root]
        with run([*command, "-c", "listen_addresses=127.0.0.1"]) as process:
            try:
                yield ready(f"postgresql://trimtab@127.0.0.1:{port}/postgres")
            finally:
                process.send_signal(signal.SIGINT)


def ready(url: str) -> str:
    import psycopg

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            psycopg.connect(url).close()
            return url
        except psycopg.OperationalError:
            time.sleep(0.2)
    raise AssertionError("PostgreSQL did not start")


@pytest.fixture
def storage(server: str, request: pytest.FixtureRequest) -> str:
    """A database of its own."""
    import psycopg

    name = f"d{abs(hash(request.node.name))}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.removesuffix("postgres") + name


def stored(url: str) -> str:
    return f"hydra.sweeper.storage={url}"


@pytest.mark.slow
def test_the_table_is_that_of_the_journal_file(app: App, storage: str, tmp_path: Path) -> None:
    done = app.run(*TRIALS, stored(storage))
    assert done.returncode == 0, done.stderr
    other = write_app(tmp_path / "other")
    assert other.run(*TRIALS).returncode == 0
    assert app.table() == other.table()
    assert not (app.out / "study.journal").exists()


@pytest.mark.slow
def test_killed_it_resumes_to_the_same_table(app: App, storage: str, tmp_path: Path) -> None:
    other = write_app(tmp_path / "other")
    assert other.run(*TRIALS).returncode == 0
    for seconds in (2.5, 3.5):
        with app.start(*TRIALS, "sleep=0.1", stored(storage)) as process:
            time.sleep(seconds)
            process.kill()
    done = app.run(*TRIALS, stored(storage))
    assert done.returncode == 0, done.stderr
    assert app.table() == other.table()


def test_a_second_sweep_is_refused_by_the_first_ones_process_also_from_elsewhere(
    app: App, storage: str, tmp_path: Path
) -> None:
    elsewhere = write_app(tmp_path / "elsewhere")
    with app.start("hydra.sweeper.n_trials=200", "sleep=0.2", stored(storage)) as first:
        wait_until(storage, 2)
        second = elsewhere.run("hydra.sweeper.n_trials=200", stored(storage))
        first.kill()
    assert second.returncode == 2
    assert f"process {first.pid}" in second.stderr
    assert "hydra.sweeper.schedule=async" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.slow
def test_two_sweeps_share_a_study_under_async_and_the_orphans_of_a_killed_one_are_taken_over(
    app: App, storage: str, tmp_path: Path
) -> None:
    elsewhere = write_app(tmp_path / "elsewhere")
    arguments = ["hydra.sweeper.n_trials=30", ASYNC, "sleep=0.05", stored(storage)]
    with app.start(*arguments) as first, elsewhere.start(*arguments) as second:
        wait_until(storage, 12)
        second.kill()
        _, err = first.communicate(timeout=120)
    assert first.returncode == 0, err
    done = app.run(*arguments)
    assert done.returncode == 0, done.stderr
    study = open_stored(storage, name_of(storage), app.out)
    assert [t.number for t in study.trials] == list(range(30))
    assert {t.state.name for t in study.trials} == {"COMPLETE"}
    assert len({t.user_attrs["owner"] for t in study.trials}) >= 2
    assert len({tuple(sorted(t.params.items())) for t in study.trials[1:]}) == 29


def asked(storage: str, query: str) -> Any:
    import psycopg

    with psycopg.connect(storage) as connection:
        (row,) = connection.execute(query).fetchall()
        return row[0]


def name_of(storage: str) -> str:
    return str(asked(storage, "SELECT study_name FROM studies"))


def wait_until(storage: str, count: int) -> None:
    import psycopg

    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with suppress(psycopg.errors.UndefinedTable):
            if asked(storage, "SELECT count(*) FROM trials") >= count:
                return
        time.sleep(0.2)
    raise AssertionError("no trials")


@pytest.mark.slow
def test_a_server_that_goes_away_under_way_is_an_outage_and_the_same_command_goes_on(
    app: App, storage: str, tmp_path: Path
) -> None:
    import psycopg

    with app.start(*TRIALS, "sleep=0.2", stored(storage)) as process:
        wait_until(storage, 3)
        with psycopg.connect(storage, autocommit=True) as connection:
            mine = "datname = current_database() AND pid <> pg_backend_pid()"
            connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}")
        _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 2), err  # SQLAlchemy may have mended its connection by itself
    assert "Traceback" not in err
    assert app.run(*TRIALS, stored(storage)).returncode == 0
    other = write_app(tmp_path / "other")
    assert other.run(*TRIALS).returncode == 0
    assert app.table() == other.table()


@pytest.mark.slow
def test_status_reads_it(app: App, storage: str) -> None:
    assert app.run(*TRIALS, stored(storage)).returncode == 0
    command = [sys.executable, "-m", "trimtab.tools.status"]
    here = subprocess.run([*command, "out"], cwd=app.folder, capture_output=True, text=True, check=True).stdout
    assert "complete; 12 of 12 trials done (12 complete)" in here
    listed = subprocess.run([*command, "--storage", storage], capture_output=True, text=True, check=True).stdout
    assert name_of(storage) in listed
    named = [*command, "--storage", storage, "--study", name_of(storage)]
    assert "12 trials done" in subprocess.run(named, capture_output=True, text=True, check=True).stdout


def test_a_server_that_does_not_answer_is_one_line(app: App) -> None:
    done = app.run(*TRIALS, stored("postgresql://trimtab:secret@127.0.0.1:1/none"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: hydra.sweeper.storage=postgresql://trimtab@127.0.0.1:1/none cannot be used")
    assert "secret" not in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@h:5/d", "postgresql://u@h:5/d"),
        ("postgresql://h/d", "postgresql://h/d"),
        ("sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert hidden(url) == shown
