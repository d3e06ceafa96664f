"""What MLflow runs when it loads the registered champion ("models from code": nothing is unpickled)."""

from mlflow.models import set_model

from trimtab.tracking.registry import Champion

set_model(Champion())
