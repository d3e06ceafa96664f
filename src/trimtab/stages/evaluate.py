"""The one look at the sealed test set: `python -m trimtab.stages.evaluate`. DVC experiments stop before it."""

import hashlib
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from trimtab import config
from trimtab.data.ledger import Look, looks, take_look
from trimtab.data.seal import open_test, open_test_groups, test_fingerprint, test_source
from trimtab.errors import SweepError
from trimtab.paths import Paths, atomic, read_json, write_json
from trimtab.stages.closing import closing, require_prepared

# torch, pandas and MLflow are imported where they are needed: most calls find nothing to do and end at once.
if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import nn

    from trimtab.data.preprocessing import Preprocessing
    from trimtab.selection.bootstrap import Comparison
    from trimtab.selection.standing import Standing

CHAMPION = "champion"
NEXT = "`make report`, `make predict FILE=new.csv`, `make serve`"


@dataclass(frozen=True)
class Outputs:
    """The files of this stage."""

    folder: Path

    @property
    def metrics(self) -> Path:
        """Scores and paired differences, or the word that the test set is sealed."""
        return self.folder / "metrics.json"

    @property
    def predictions(self) -> Path:
        """What each recipe says of each test row."""
        return self.folder / "predictions.parquet"

    @property
    def model(self) -> Path:
        """The champion's weights, preprocessing and configuration."""
        return self.folder / "model"

    @property
    def plots(self) -> Path:
        """What DVC plots: confusion or residuals."""
        return self.folder / "plots"


def evaluate(cfg: DictConfig) -> None:
    """Looks at the test set, unless this is an experiment or the look has been taken."""
    require_prepared(cfg)
    paths = Paths.here()
    out = Outputs(paths.stage("evaluate"))
    choice = read_json(paths.stage("select") / "champion.json")
    if os.environ.get("DVC_EXP_NAME"):
        _stay_sealed(out, choice)
        return
    test, source = test_fingerprint(paths.prepared), test_source(paths.prepared)
    seen = [look for look in looks(paths.ledger, test, source) if look.champion == choice["id"]]
    if seen and _is_of(out, choice, seen[0]):
        closing(f"{choice['champion']} has had its look (number {seen[0].number})", out.metrics, NEXT)
        return
    _check_choice(choice, cfg)
    look = take_look(paths.ledger, test, source, choice["id"], choice["data"]["name"])
    _evaluate(cfg, choice, look, out)


def _stay_sealed(out: Outputs, choice: dict[str, Any]) -> None:
    import pandas as pd

    note = "a DVC experiment chooses without the test set; `dvc exp apply` it, then `dvc repro` opens the seal"
    for folder in (out.model, out.plots):  # an earlier champion's files would pass for this one's
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    with atomic(out.predictions) as temporary:
        pd.DataFrame({"target": []}).to_parquet(temporary)
    write_json(out.metrics, {"sealed": True, "note": note, "champion": choice["champion"]})
    closing("sealed: an experiment does not look at the test set", out.metrics, note)


def _is_of(out: Outputs, choice: dict[str, Any], look: Look) -> bool:
    """Whether the files are this champion's; another look of the same champion finds nothing new."""
    if not (out.metrics.exists() and out.predictions.exists() and any(out.model.glob("*"))):
        return False
    have = read_json(out.metrics)
    return bool(have.get("id") == choice["id"] and have["look"] == {"number": look.number, "verdict": look.verdict})


def _check_choice(choice: dict[str, Any], cfg: DictConfig) -> None:
    if choice["data"]["data_hash"] != cfg.data.hash:
        raise SweepError(
            f"results/select chose among models of data {choice['data']['data_hash'][:12]}, but prepared are "
            f"{cfg.data.hash[:12]}; run `dvc repro` (or sweep and select) before the seal is opened"
        )


def _evaluate(cfg: DictConfig, choice: dict[str, Any], look: Look, out: Outputs) -> None:
    """Refits every recipe on train + val, then scores all of them on the same test rows."""
    import pandas as pd

    from trimtab.data.prepared import load_frames
    from trimtab.data.preprocessing import Preprocessing
    from trimtab.stages import contest

    paths = Paths.here()
    rows = pd.concat(load_frames(paths.prepared), ignore_index=True)
    # Preprocessing is part of the recipe: it learns from all rows that the refit sees.
    preprocessing = Preprocessing.load(paths.prepared / "preprocessing.joblib").refitted(rows)
    known = preprocessing.arrays(rows)
    seed = _seed(choice["id"])
    networks = dict(contest.refits(choice, known, preprocessing.problem, seed))
    references = contest.references(known, preprocessing.problem)

    sealed_rows = open_test(paths.prepared)
    test = preprocessing.arrays(sealed_rows)
    outputs = contest.answers(networks, references, test, preprocessing.problem)
    groups = _groups(paths.prepared)
    found = contest.compare(outputs, test, preprocessing.problem, cfg.evaluate.resamples, groups)

    _write_model(out.model, choice, networks[CHAMPION], preprocessing)
    _write_predictions(out, preprocessing, sealed_rows, outputs)
    scores = asdict(found)
    _register(
        cfg,
        choice,
        look,
        out.model,
        preprocessing.raw(rows.head(5)),
        scores["scores"][CHAMPION],
    )
    facts = {"sealed": False, "id": choice["id"], "look": {"number": look.number, "verdict": look.verdict}}
    about = {
        "champion": choice["champion"],
        "data": choice["data"]["name"],
        "rows": len(test.x),
        "estimates": "model",
        "resampled": "rows" if groups is None else f"groups of {cfg.data.group}",
        "metric": choice["metric"],
        "refit_rows": len(known.x),
        "refit_seed": seed,
    }
    write_json(out.metrics, {**facts, **about, **scores})
    _say(found, look, choice, out)


def _seed(champion: str) -> int:
    """The champion's own: one look is one model, whatever seeds a person tries."""
    return int.from_bytes(hashlib.sha256(f"{champion}/evaluate".encode()).digest()[:4], "big")


def _groups(prepared: Path) -> "NDArray[np.int64] | None":
    """Groups to resample; a single one says nothing about others, so then rows it is."""
    groups = open_test_groups(prepared)
    return groups if groups is not None and len(set(groups.tolist())) > 1 else None


def _write_model(folder: Path, choice: dict[str, Any], network: "nn.Module", preprocessing: "Preprocessing") -> None:
    import torch

    row = next(r for r in choice["candidates"] if r["name"] == choice["champion"])
    write_json(folder / "model.json", row["config"]["model"])
    with atomic(folder / "weights.pt") as temporary:
        torch.save(network.state_dict(), temporary)
    preprocessing.save(folder / "preprocessing.joblib")


def _write_predictions(
    out: Outputs, preprocessing: "Preprocessing", rows: "pd.DataFrame", outputs: dict[str, "np.ndarray"]
) -> None:
    """Predictions of every recipe, and the champion's errors in the form that DVC plots."""
    import pandas as pd

    target = rows[preprocessing.target].reset_index(drop=True)
    decoded = {name: preprocessing.decode(output) for name, output in outputs.items()}
    frames = [frame.add_prefix(f"{name}/") for name, frame in decoded.items()]
    with atomic(out.predictions) as temporary:
        pd.concat([target.rename("target"), *frames], axis=1).to_parquet(temporary, index=False)
    said = decoded[CHAMPION]["prediction"]
    classes = preprocessing.problem.task == "classification"
    frames_by_name = {
        "confusion.csv": pd.DataFrame({"actual": target, "predicted": said}),
        "residuals.csv": pd.DataFrame({"predicted": said, "residual": 0 if classes else target - said}),
    }
    for name, frame in frames_by_name.items():
        # The one that does not apply has a header and no rows: DVC complains of a plot without a file.
        applies = classes == (name == "confusion.csv")
        with atomic(out.plots / name) as temporary:
            frame.head(len(frame) if applies else 0).to_csv(temporary, index=False)


def _register(
    cfg: DictConfig, choice: dict[str, Any], look: Look, model: Path, example: "pd.DataFrame", scores: dict[str, Any]
) -> None:
    """The champion into MLflow's registry, with the scores and the number of the look on its run."""
    from trimtab.stages import unpack
    from trimtab.tracking.registry import ChampionFiles, register_champion
    from trimtab.tracking.runs import Parent, experiment

    paths = Paths.here()
    store = experiment(unpack.tracking(cfg.tracking), choice["data"]["name"])
    if store is None:
        return
    study = paths.project / read_json(paths.stage("sweep") / "study.json")["folder"] / "mlflow.json"
    tags = {"look": str(look.number), "verdict": look.verdict, "recipe": choice["champion"]}
    with store.run(
        f"test of {choice['champion']}",
        {"tests": choice["id"]},
        tags={**tags, "role": "evaluation"},
        parent=Parent(**read_json(study)) if study.exists() else None,
    ) as run:
        run.write({f"test/{name}": interval["value"] for name, interval in scores.items()})
    files = ChampionFiles(model / "weights.pt", model / "preprocessing.joblib", model / "model.json")
    register_champion(store, run.run_id, files, example, tags)


def _say(found: "Comparison", look: Look, choice: dict[str, Any], out: Outputs) -> None:
    from trimtab.selection.standing import headline_metric, standings

    metric = headline_metric(choice["metric"], found.scores[CHAMPION])
    stands = standings(found.differences, metric)
    label = "" if look.verdict == "first" else f" (look number {look.number}: exploratory)"
    closing(
        f"{_reached(found, metric, stands, choice['champion'])}{label}; {_against(stands)}",
        out.metrics,
        NEXT,
    )


def _reached(found: "Comparison", metric: str, stands: dict[str, "Standing"], champion: str) -> str:
    """The champion's score, after the word that a constant does as well, if one does."""
    from trimtab.selection.standing import CONSTANT, LOWER_IS_BETTER, reproach

    score, form = found.scores[CHAMPION][metric], ".4g" if metric in LOWER_IS_BETTER else ".4f"
    reached = f"test {metric} {score.value:{form}} [{score.low:{form}}, {score.high:{form}}]"
    said = reproach(stands)
    if not said:
        return f"{champion}: {reached}"
    return f"{champion} is {said}: {reached} against {found.scores[CONSTANT][metric].value:{form}}"


def _against(stands: dict[str, "Standing"]) -> str:
    """Which baselines are clearly beaten and which win; a constant that is not beaten has been named before."""
    from trimtab.selection.standing import CONSTANT

    others = {name: stand for name, stand in stands.items() if name != CONSTANT or stand == "better"}
    words = {"better": "clearly better than", "worse": "clearly WORSE than"}
    names = {stand: [name for name, found in others.items() if found == stand] for stand in words}
    said = [f"{words[stand]} {', '.join(named)}" for stand, named in names.items() if named]
    left = "other " if len(others) < len(stands) else ""
    return "; ".join(said) or f"cannot be told apart from the {left}baselines"


if __name__ == "__main__":
    config.door(evaluate)
