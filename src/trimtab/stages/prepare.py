"""Read, check, split and seal the data: `python -m trimtab.stages.prepare data=csv data.path=my.csv data.target=y`."""

import functools
import os

from omegaconf import DictConfig, OmegaConf

from trimtab import config
from trimtab.data.prepare import Settings, Summary, is_current
from trimtab.data.prepare import prepare as prepare_data
from trimtab.paths import Paths
from trimtab.stages.closing import closing

NEXT = "`make sweep` to tune, or `python -m trimtab.stages.train` to train the default configuration once"


def prepare(cfg: DictConfig) -> None:
    """Prepares what the configuration names, unless that is what lies there already."""
    paths = Paths.here()
    source = paths.source(cfg.data.path) if "path" in cfg.data else None
    wanted = settings(cfg)
    if is_current(paths.prepared, wanted, source):
        closing(f"{wanted.name}: prepared already", paths.prepared, NEXT)
        return
    from hydra.utils import get_method

    read = get_method(cfg.data.source._target_)
    given = functools.partial(read, *([source] if source else []), **wanted.options)
    summary = prepare_data(given, wanted, paths.prepared, source)
    closing(_found(wanted.name, summary), paths.prepared, NEXT)


def settings(cfg: DictConfig) -> Settings:
    """conf/data as plain values."""
    node = OmegaConf.to_container(cfg.data, resolve=True)
    assert isinstance(node, dict)
    known = {k: node[k] for k in Settings.__dataclass_fields__ if k in node}
    if "path" in known:
        known["path"] = os.path.normpath(known["path"])
    lists = {k: tuple(known[k]) for k in ("numeric", "categorical", "shape") if known.get(k) is not None}
    source = node["source"]
    options = {k: v for k, v in source.items() if k not in ("_target_", "_partial_", "path")}
    return Settings(**{**known, **lists, **node["split"], "source": source["_target_"], "options": options})


def _found(name: str, summary: Summary) -> list[str]:
    train, val, test = summary.rows
    what = f"{len(summary.classes)} classes" if summary.classes else "regression"
    shape = f" ({' x '.join(map(str, summary.shape))})" if len(summary.shape) > 1 else ""
    rows = f"{train} training, {val} validation, {test} sealed test rows"
    imputed = [f"{summary.imputed} missing values imputed from the training part"] if summary.imputed else []
    return [f"{name}: {what}, {summary.features} features{shape}; {rows}", *summary.remarks, *summary.dropped, *imputed]


if __name__ == "__main__":
    config.door(prepare, reads="data")  # `make sweep ARGS=…` gives it the knobs of the search, too
