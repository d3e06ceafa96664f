"""MLflow's pages for the configured tracking: `python -m trimtab.tools.ui --port 5000`. Loopback only."""

import argparse
import os
import sys

from trimtab import config
from trimtab.errors import TrackingError
from trimtab.overrides import overrides


def main(argv: list[str] | None = None) -> None:
    """Opens `mlflow ui` on the configured database, or says where the server is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. tracking.uri=...")
    args = parser.parse_args(argv)
    with config.user_errors():
        uri = config.compose(overrides(args.overrides)).tracking.uri
        if uri is None:
            raise TrackingError("tracking=none keeps no runs; set `tracking: sqlite` in params.yaml")
        if uri.startswith("http"):
            print(f"the runs are on {uri}: open it in a browser")
            return
        command = [
            "mlflow",
            "ui",
            "--backend-store-uri",
            uri,
            "--host",
            "127.0.0.1",
            "--port",
            str(args.port),
            "--workers",
            "1",
        ]
        # Without the last part MLflow opens on pages for traces of language models.
        print(f"http://127.0.0.1:{args.port}/#/experiments?workflowType=machine_learning (Ctrl-C ends it)", flush=True)
        os.execv(sys.executable, [sys.executable, "-m", *command])  # signals reach MLflow itself


if __name__ == "__main__":
    main()
