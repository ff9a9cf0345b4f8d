"""Evaluate: scores of a model version on a dataset version."""
