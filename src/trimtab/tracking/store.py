"""What MLflow imports when it first opens a database, a second's worth; imported early it is shared, or beside others."""

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
