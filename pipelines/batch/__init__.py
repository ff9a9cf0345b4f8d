"""Batch: a model over a dataset version makes a new version."""
