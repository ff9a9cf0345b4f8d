"""Serve: a model version behind an HTTP endpoint."""
