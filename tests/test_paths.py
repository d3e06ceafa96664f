"""Writing whole or not at all, on disks that are full and in folders that are none."""

import errno
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from trimtab.errors import DiskError, Outage, outage
from trimtab.paths import atomic, write_text


def full_device(path: Path) -> None:
    Path("/dev/full").write_text("x", encoding="utf-8")


def wrapped(path: Path) -> None:
    """As torch.save does: another error on the way out of the block, with the disk's as its context."""
    path.write_text("half")
    try:
        full_device(path)
    finally:
        raise RuntimeError("unexpected pos 704 vs 598")


def forbidden(path: Path) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (full_device, "No space left on device; free some space, then run the same command again"),
        (wrapped, "No space left on device; free some space"),
        (forbidden, "Permission denied; make the folder writable"),
    ],
)
def test_a_failed_write_is_an_outage_and_leaves_what_was_there(
    tmp_path: Path, write: Callable[[Path], None], said: str
) -> None:
    path = tmp_path / "kept.txt"
    write_text(path, "old")
    with pytest.raises(DiskError, match=f"cannot write .*kept.txt: {said}") as caught, atomic(path) as temporary:
        write(temporary)
    assert isinstance(caught.value, Outage)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").touch()
    with pytest.raises(DiskError, match=r"cannot write .*folder/new.txt: .*; move away what lies in its place"):
        write_text(tmp_path / "folder" / "new.txt", "new")


@pytest.mark.parametrize("error", [ValueError("odd"), RuntimeError("odd"), Outage("server"), KeyboardInterrupt()])
def test_other_errors_come_through_as_they_are(tmp_path: Path, error: BaseException) -> None:
    def fail(temporary: Path) -> None:
        temporary.touch()
        raise error

    with pytest.raises(type(error)) as caught, atomic(tmp_path / "new.txt") as temporary:
        fail(temporary)
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def chain(*errors: Exception, hidden: bool = False) -> Exception:
    """The last of the errors, each with the one before as its cause, or its context under `from None`."""
    for before, after in pairwise(errors):
        after.__context__ = before
        after.__cause__ = None if hidden else before
    return errors[-1]


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (Outage("server"), True),
        (FULL, True),
        (OSError(errno.EDQUOT, "quota"), True),
        (chain(Outage("server"), ValueError(), RuntimeError()), True),
        (chain(FULL, ValueError(), hidden=True), False),
        (FileNotFoundError(errno.ENOENT, "no such file"), False),
        (chain(FileNotFoundError(errno.ENOENT, "no such file"), ValueError()), False),
    ],
)
def test_an_outage_is_found_below_other_errors(error: Exception, found: bool) -> None:
    assert (outage(error) is not None) == found


def test_errors_that_caused_each_other_are_looked_at_once() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert outage(first) is None
