"""Faults on real Ray under load: ``python -m tests.chaos``."""
