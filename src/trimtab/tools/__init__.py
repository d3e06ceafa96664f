"""Doors that are not stages."""
