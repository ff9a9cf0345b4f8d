"""Optimise: smaller and faster variants of a model version, measured side by side."""
