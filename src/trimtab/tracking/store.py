"""What MLflow imports when it first opens a database: a second, which is better spent early and once."""

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
