"""Which learning rates learn, by a ramp and by constant rates: `python -m trimtab.tools.lr_range model=cnn`."""

import argparse
import shlex
import sys
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from trimtab import config
from trimtab.errors import ConfigError
from trimtab.paths import Paths, atomic

if TYPE_CHECKING:
    from trimtab.population.lr_range import Found, Settings

USAGE = "python -m trimtab.tools.lr_range [options] [Hydra overrides]"


def main(argv: list[str] | None = None) -> None:
    """Trains the ramp and the constant rates, draws them, and suggests a range to search."""
    parser = argparse.ArgumentParser(usage=USAGE, description=__doc__, allow_abbrev=False)
    parser.add_argument("--low", type=float, default=1e-6, help="the lowest rate (default: %(default)s)")
    parser.add_argument("--high", type=float, default=10.0, help="the highest rate (default: %(default)s)")
    parser.add_argument("--rates", type=int, default=24, help="constant rates between them (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=200, help="of each, in whole epochs (default: %(default)s)")
    given, typed = parser.parse_known_args(sys.argv[1:] if argv is None else argv)

    def lr_range(cfg: DictConfig) -> None:
        _lr_range(cfg, given, typed)

    config.door(lr_range, typed)


def _lr_range(cfg: DictConfig, given: argparse.Namespace, typed: list[str]) -> None:
    # Heavy imports wait until there is something to do: `--help` and errors of the configuration are quick.
    from trimtab.data.prepared import load_prepared
    from trimtab.figures import style
    from trimtab.figures.lr_range import lr_range as drawn
    from trimtab.population.choice import require_member
    from trimtab.population.lr_range import Settings, chance, measure, read
    from trimtab.stages import unpack
    from trimtab.stages.closing import closing, require_prepared

    settings = Settings(**vars(given))
    _check(settings)
    require_prepared(cfg)
    data = load_prepared(Paths.here().prepared)
    recipe, device = unpack.recipe(cfg), unpack.device(cfg)
    require_member(recipe, data.problem, device)
    table = measure(recipe, data.train, data.val, data.problem, cfg.seed, settings, device)
    found = read(table, settings.grid, chance(data.train, data.val, data.problem))
    model, optimizer = (HydraConfig.get().runtime.choices[group] for group in ("model", "optimizer"))
    run = unpack.identity([unpack.recipe_config(cfg), cfg.data.hash, cfg.seed, vars(given)])
    folder = Paths.here().tool("lr_range", f"{cfg.data.name}-{model}-{run}")
    with atomic(folder / "lr_range.csv") as temporary:
        table.to_csv(temporary, index=False)
    style.write(drawn(table, found, optimizer), folder / "lr_range.html")
    said = _said(found, f"{cfg.data.name}, {model}, {optimizer}")
    closing(said, folder / "lr_range.html", _next(found, typed))


def _check(settings: "Settings") -> None:
    if not 0 < settings.low < settings.high:
        raise ConfigError(f"--low must be above 0 and below --high but they are {settings.low:g} and {settings.high:g}")
    if settings.rates < 2 or settings.steps < 1:
        raise ConfigError(
            f"--rates must be at least 2 and --steps at least 1 but they are {settings.rates} and {settings.steps}"
        )


def _said(found: "Found", what: str) -> list[str]:
    ramp = "the ramp's loss never falls"
    if found.steepest is not None:
        ramp = f"the ramp's loss falls fastest at {found.steepest:.2g}, and is lowest at {found.turns:.2g}"
    if found.best is None:
        return [f"{what}: no rate learns: none gets below {found.chance:.4g}, the loss of chance", ramp]
    end = "none diverges" if found.diverges is None else f"from {found.diverges:.2g} on worse than chance"
    return [f"{what}: rates from {found.low:.2g} to {found.high:.2g} learn, best {found.best:.2g}; {end}", ramp]


def _next(found: "Found", typed: list[str]) -> str:
    if found.best is None:
        return "try --low and --high further out, more --steps, or another model.initialisation"
    kept = [o for o in typed if not o.startswith("optimizer.lr=")]
    searched = f"optimizer.lr=tag(log, interval({found.low:.2g}, {found.high:.2g}))"
    return f"`python -m trimtab.stages.sweep {shlex.join([*kept, searched])}` searches there"


if __name__ == "__main__":
    main()
