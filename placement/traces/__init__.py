"""Traces of jobs: readers of published ones (``readers``), generators (``generate``), experiments (``prepare``)."""
