"""Predictions of the champion for new rows: `python -m trimtab.tools.predict new.csv`."""

import argparse
from pathlib import Path

import pandas as pd

from trimtab import config
from trimtab.data.files import read_rows
from trimtab.overrides import overrides
from trimtab.paths import Paths, atomic
from trimtab.stages import unpack
from trimtab.stages.closing import closing
from trimtab.tracking.registry import load_champion


def main(argv: list[str] | None = None) -> None:
    """Reads CSV or Parquet, writes one row of predictions per row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="CSV or Parquet with the feature columns")
    parser.add_argument("--out", type=Path, help="default: results/predict/<file>.csv")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. data=csv data.path=my.csv")
    args = parser.parse_args(argv)
    with config.user_errors():
        cfg = config.compose(overrides(args.overrides))
        rows = read_rows(args.file)
        model = load_champion(unpack.tracking(unpack.plain(cfg.tracking)), cfg.data.name)
        answers: pd.DataFrame = model.unwrap_python_model().answer(rows)
        out = args.out or Paths.here().results / "predict" / f"{args.file.stem}.csv"
        with atomic(out) as temporary:
            answers.to_csv(temporary, index=False)
        closing(f"{len(answers)} rows predicted by '{cfg.data.name}' @champion", out, "`make serve` answers over HTTP")


if __name__ == "__main__":
    main()
