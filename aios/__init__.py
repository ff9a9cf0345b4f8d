"""AIOS: the operating layer of a shared Ray cluster."""

__version__ = "0.1.0"
