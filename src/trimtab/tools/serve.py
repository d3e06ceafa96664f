"""The champion over HTTP: `python -m trimtab.tools.serve --port 5001`, then POST rows to /invocations.

As JSON: `{"dataframe_records": [{"age": 41, "town": "Ulm"}, …]}`; what is wrong with them is answered with 400.
"""

import argparse
import os
import sys

from trimtab import config
from trimtab.overrides import overrides


def main(argv: list[str] | None = None) -> None:
    """`mlflow models serve` of the registered champion, on loopback, in this environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=5001)
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. data=csv data.path=my.csv")
    args = parser.parse_args(argv)
    with config.user_errors():
        from trimtab.stages import unpack
        from trimtab.tracking.registry import champion_uri, load_champion

        cfg = config.compose(overrides(args.overrides))
        settings = unpack.tracking(unpack.plain(cfg.tracking))
        load_champion(settings, cfg.data.name)  # says so now if there is none
        command = ["mlflow", "models", "serve", "-m", champion_uri(cfg.data.name), "--env-manager", "local"]
        address = ["--host", "127.0.0.1", "--port", str(args.port)]
        environment = {**os.environ, "MLFLOW_TRACKING_URI": str(settings.uri)}
        os.execve(
            sys.executable, [sys.executable, "-m", *command, *address], environment
        )  # signals reach MLflow itself


if __name__ == "__main__":
    main()
