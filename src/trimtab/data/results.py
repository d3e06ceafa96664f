"""The folder of the stage: what is written before the seal, the seal last, and the swap of old for new."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from errno import ENOTDIR
from pathlib import Path

import pandas as pd

from trimtab.data.frames import fingerprint, write_parquet
from trimtab.data.prepare import Settings, Summary
from trimtab.data.prepared import write_arrays
from trimtab.data.preprocessing import Preprocessing
from trimtab.data.seal import Origin, file_hash, seal
from trimtab.data.split import NAMES, Parts
from trimtab.data.table import Table
from trimtab.errors import TrimtabError
from trimtab.paths import write_json


def write_parts(parts: Parts, table: Table, settings: Settings, folder: Path, origin: Origin) -> Summary:
    """Writes all files into an empty folder. Test labels go nowhere but into the sealed one."""
    preprocessing = Preprocessing.fit(
        parts.train,
        target=table.target,
        numeric=table.numeric,
        categorical=table.categorical,
        task=table.task,
        missing=settings.missing,
        scaling=settings.scaling,
        class_weights=settings.class_weights,
        shape=table.shape,
    )
    train, val = _grouped(parts, table)
    write_parquet(train, folder / "train.parquet")
    write_parquet(val, folder / "val.parquet")
    preprocessing.save(folder / "preprocessing.joblib")
    write_arrays(folder, "train", preprocessing.arrays(train))
    write_arrays(folder, "val", preprocessing.arrays(val))
    summary = Summary(
        rows=(len(parts.train), len(parts.val), len(parts.test)),
        features=len(table.features),
        shape=preprocessing.problem.shape,
        task=table.task,
        classes=preprocessing.problem.classes,
        dropped=tuple(map(str, table.dropped + parts.dropped)),
        imputed=sum(_gaps(parts, table).values()),
        data_hash=_data_hash(train, val, settings, preprocessing, folder / "preprocessing.joblib"),
        remarks=table.remarks,
    )
    write_json(folder / "manifest.json", _manifest(parts, table, settings, preprocessing, summary))
    seal(folder, parts.test, None if parts.groups is None else parts.groups[2], origin)
    return summary


def _grouped(parts: Parts, table: Table) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to train and to validate on, with the numbers of their groups where there are groups: folds keep them."""
    if parts.groups is None:
        return parts.train, parts.val
    train, val, _ = parts.groups
    return parts.train.assign(**{str(table.group): train}), parts.val.assign(**{str(table.group): val})


def _manifest(
    parts: Parts, table: Table, settings: Settings, preprocessing: Preprocessing, summary: Summary
) -> dict[str, object]:
    """What may be known before the seal is opened: of the test part only its features, and their number."""
    return {
        "class_counts": {
            "train": _class_counts(parts.train[table.target], preprocessing),
            "val": _class_counts(parts.val[table.target], preprocessing),
        },
        "classes": summary.classes,
        "data_hash": summary.data_hash,
        "dropped": [{"columns": d.columns, "reason": d.said, "rows": d.rows} for d in table.dropped + parts.dropped],
        "categorical": table.categorical,
        "features": table.features,
        "imputed": _gaps(parts, table),
        "name": settings.name,
        "numeric": table.numeric,
        "problem": asdict(preprocessing.problem),
        "rows": dict(zip(NAMES, summary.rows, strict=True)),
        "settings": settings.as_dict(),
        "target": table.target,
        "task": table.task,
    }


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """Gives an empty folder beside `out` that takes its place if the block succeeds, and vanishes if not.

    Raises:
        TrimtabError: the folder cannot be written or the disk is full.
    """
    new, old = (out.with_name(f".{out.name}.{age}") for age in ("new", "old"))
    try:
        for stale in (new, old):  # left by a kill
            shutil.rmtree(stale, ignore_errors=True)
        if out.exists() and not out.is_dir():
            raise NotADirectoryError(ENOTDIR, "it is a file, not a folder")
        new.mkdir(parents=True)
        yield new
        if out.exists():
            out.rename(old)
        new.rename(out)
    except OSError as e:
        if old.exists() and not out.exists():
            old.rename(out)
        raise TrimtabError(
            f"cannot write {out}: {e.strerror or e}; free space or make the folder writable, "
            "then run the same command again"
        ) from e
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _data_hash(
    train: pd.DataFrame, val: pd.DataFrame, settings: Settings, preprocessing: Preprocessing, fitted: Path
) -> str:
    """Identifies what networks learn from: rows, and the preprocessing as it was fitted; blind to the test part."""
    problem = preprocessing.problem
    chosen = (settings.missing, settings.scaling, problem.task, problem.class_weights, problem.shape)
    columns = (preprocessing.numeric, preprocessing.categorical)
    said = pd.DataFrame({"setting": [repr(chosen), repr(columns), file_hash(fitted)]})
    return fingerprint(train, val, said)


def _gaps(parts: Parts, table: Table) -> dict[str, int]:
    """Missing values per feature, in all three parts."""
    frames = (parts.train, parts.val, parts.test)
    counts = {name: sum(int(rows[name].isna().sum()) for rows in frames) for name in table.features}
    return {name: count for name, count in counts.items() if count}


def _class_counts(target: pd.Series, preprocessing: Preprocessing) -> dict[str, int]:
    counts = target.value_counts()
    names = zip(preprocessing.labels, preprocessing.problem.classes, strict=True)
    return {name: int(counts.get(label, 0)) for label, name in names}
