"""Tune: many trials of a training under one gang; the best one becomes the model."""
