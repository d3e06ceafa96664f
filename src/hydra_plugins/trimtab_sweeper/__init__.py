"""Hydra plugin `hydra/sweeper=trimtab`. Hydra imports it at every start, so it imports nothing heavy."""
