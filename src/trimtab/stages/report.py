"""The page that explains what was found: `python -m trimtab.stages.report`."""

from omegaconf import DictConfig

from trimtab import config
from trimtab.page.render import write_report
from trimtab.paths import Paths
from trimtab.stages.closing import closing


def report(cfg: DictConfig) -> None:
    """Writes results/report/report.html from what the other stages left."""
    paths = Paths.here()
    page = paths.stage("report") / "report.html"
    headline = write_report(paths.results, page)
    closing(headline, page, f"open {page.name} in a browser (it needs no network); `make ui` for every run")


if __name__ == "__main__":
    config.door(report)
