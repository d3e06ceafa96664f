"""Measurements that anyone can rerun; `make bench` runs them all; LOG.md keeps the figures."""
