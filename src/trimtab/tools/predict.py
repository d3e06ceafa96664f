"""Predictions of the champion for new rows or a folder of images: `python -m trimtab.tools.predict new.csv`."""

import argparse
from pathlib import Path

import pandas as pd

from trimtab import config
from trimtab.data.files import read_rows
from trimtab.data.images import IMAGE
from trimtab.data.unfamiliar import unfamiliar
from trimtab.overrides import overrides
from trimtab.paths import Paths, atomic
from trimtab.stages import unpack
from trimtab.stages.closing import closing
from trimtab.tracking.registry import load_champion


def main(argv: list[str] | None = None) -> None:
    """Reads CSV, Parquet or images, writes one row of predictions per row or image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="CSV or Parquet with the feature columns, or a folder of images")
    parser.add_argument("--out", type=Path, help="default: results/predict/<file>.csv")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. data=csv data.path=my.csv")
    args = parser.parse_args(argv)
    with config.user_errors():
        cfg = config.compose(overrides(args.overrides))
        champion = load_champion(unpack.tracking(unpack.plain(cfg.tracking)), cfg.data.name).unwrap_python_model()
        rows = read_rows(args.file, champion.preprocessing.problem.shape)
        answers: pd.DataFrame = champion.answer(rows)
        if rows.index.name == IMAGE:
            answers.insert(0, IMAGE, rows.index)
        out = args.out or Paths.here().results / "predict" / f"{args.file.stem}.csv"
        with atomic(out) as temporary:
            answers.to_csv(temporary, index=False)
        found = [f"{len(answers)} rows predicted by '{cfg.data.name}' @champion"]
        found += unfamiliar(champion.preprocessing, rows)
        closing(found, out, "`make serve` answers over HTTP")


if __name__ == "__main__":
    main()
