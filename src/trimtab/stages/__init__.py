"""The doors: one module per DVC stage. Each unpacks the configuration and calls plain functions."""
