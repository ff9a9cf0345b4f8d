"""Prepare: steps from raw rows to features, each a pure function of a batch and what was fitted."""
