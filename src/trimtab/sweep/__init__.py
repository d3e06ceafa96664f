"""The sweep: space, study, ask-run-tell loop, executors. Knows neither Lightning nor MLflow nor models."""
