"""A study in a database (`hydra.sweeper.storage=postgresql://…`), for sweeps on several machines.

Who sweeps holds locks in the database itself, which go with its connection, however that ends: no heartbeat is needed,
and no lock outlives its holder.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage

from trimtab.errors import Outage, SweepError

FILE = "storage.json"
DRIVERS = {"postgresql": "psycopg"}


def check_url(url: str) -> None:
    """Refuses what is no database that several processes can write.

    Raises:
        SweepError: says what can be given.
    """
    kind = url.split("://")[0].split("+")[0]
    if "://" not in url or kind not in ("postgresql", "sqlite"):
        raise SweepError(
            f"hydra.sweeper.storage is {hidden(url)!r}; it can be postgresql://user@host/database, sqlite:///file or "
            "null for a journal file in hydra.sweep.dir"
        )


def hidden(url: str) -> str:
    """The address without its password."""
    head, at, tail = url.rpartition("@")
    scheme, slashes, who = head.partition("://")
    return f"{scheme}{slashes}{who.split(':')[0]}{at}{tail}"


def connect(url: str, *, keep: bool = False) -> BaseStorage:
    """Optuna's storage on a database.

    Args:
        url: of the database.
        keep: the connection stays open between two calls, which a sweep saves time by.

    Raises:
        SweepError: a library is missing, or the database does not answer.
    """
    check_url(url)
    try:
        import sqlalchemy
        from optuna.storages import RDBStorage, get_storage

        kind, _, rest = url.partition("://")
        options = {} if keep else {"poolclass": sqlalchemy.NullPool}
        return get_storage(RDBStorage(f"{kind}+{DRIVERS[kind]}://{rest}" if kind in DRIVERS else url, options))
    except ImportError as e:
        raise SweepError(missing(url, "psycopg" if "psycopg" in str(e) else e.name)) from e
    except sqlalchemy.exc.SQLAlchemyError as e:
        raise SweepError(unreachable(url, e)) from e


def missing(url: str, library: str | None) -> str:
    """One line on a library that is not installed."""
    return (
        f"hydra.sweeper.storage={hidden(url)} needs {library}; run pip install 'trimtab[postgresql]', or leave storage "
        "null for a journal file"
    )


def unreachable(url: str, error: Exception) -> str:
    """One line on a database that does not answer."""
    detail = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
    return (
        f"hydra.sweeper.storage={hidden(url)} cannot be used: {detail}; start the database or mend the address, then "
        "run the same command again: nothing is lost"
    )


@contextmanager
def outages(url: str) -> Iterator[None]:
    """Makes a database's failure under way an Outage."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as e:
        raise Outage(unreachable(url, e)) from e


class Claims:
    """Locks of one sweep in a PostgreSQL database; other databases have none, and only the sweep's folder is locked.

    Args:
        url: of the database.
        study: its name.
        shared: other sweeps may join (schedule `async`).

    Attributes:
        owner: number of this sweep; its trials carry it.
        shared: see above.
    """

    def __init__(self, url: str, study: str, *, shared: bool) -> None:
        check_url(url)
        self.owner = (int.from_bytes(os.urandom(4)) >> 1) | 2  # 0 and 1 are the study's own locks
        self._url, self._study, self.shared = url, study, shared
        self._key = int.from_bytes(sha256(study.encode()).digest()[:4]) >> 1
        self._connection: Any = None

    @contextmanager
    def held(self) -> Iterator["Claims"]:
        """Holds the study.

        Raises:
            SweepError: another sweep holds it; names its process.
        """
        if not self._url.startswith("postgresql"):
            yield self
            return
        with self._connected() as self._connection:
            suffix = "_shared" if self.shared else ""
            if not self._ask(f"pg_try_advisory_lock{suffix}(%s, 0)", self._key):
                raise SweepError(
                    f"study {self._study} in {hidden(self._url)} is being swept by {self._holder()}; wait for it or "
                    "stop it, or let both work on it with hydra.sweeper.schedule=async"
                )
            self._ask("pg_advisory_lock(%s, %s)", self._key, self.owner)
            yield self

    def _connected(self) -> Any:
        try:
            import psycopg
        except ImportError as e:
            raise SweepError(missing(self._url, "psycopg")) from e
        name = f"trimtab {socket.gethostname()} process {os.getpid()}"[:63]
        try:
            return psycopg.connect(self._url, autocommit=True, application_name=name)
        except psycopg.Error as e:
            raise SweepError(unreachable(self._url, e)) from e

    def opening(self) -> AbstractContextManager[None]:
        """One sweep at a time inside, of all studies: Optuna's way of making tables and studies is a race."""
        return self._alone(0)

    def asking(self) -> AbstractContextManager[None]:
        """One sweep at a time inside, so that no two propose the same trial."""
        return self._alone(self._key) if self.shared else nullcontext()

    @contextmanager
    def _alone(self, key: int) -> Iterator[None]:
        if self._connection is None:
            yield
            return
        self._ask("pg_advisory_lock(%s, 1)", key)
        try:
            yield
        finally:
            self._ask("pg_advisory_unlock(%s, 1)", key)

    def alive(self, owner: int | None) -> bool:
        """Whether the sweep of that number still runs; that of this one does not count."""
        if owner is None or owner == self.owner or self._connection is None:
            return False
        if not self._ask("pg_try_advisory_lock(%s, %s)", self._key, owner):
            return True
        self._ask("pg_advisory_unlock(%s, %s)", self._key, owner)
        return False

    def _ask(self, call: str, *values: int) -> bool:
        import psycopg

        try:
            return bool(self._connection.execute(f"SELECT {call}", values).fetchone()[0])
        except psycopg.Error as e:
            raise Outage(unreachable(self._url, e)) from e

    def _holder(self) -> str:
        rows = self._connection.execute(
            "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE locktype = 'advisory' AND classid = %s AND objid = 0 AND granted",
            (self._key,),
        ).fetchall()
        return ", ".join(row[0].removeprefix("trimtab ") for row in rows) or "another process"


def remember(directory: Path, url: str, study: str) -> None:
    """Says in the study's folder where the study is; the password stays where it was."""
    from trimtab.paths import write_json

    write_json(directory / FILE, {"url": hidden(url), "study": study})
