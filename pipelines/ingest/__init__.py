"""Ingest: from a source to a dataset version."""
