"""A trial as a Hydra job."""
