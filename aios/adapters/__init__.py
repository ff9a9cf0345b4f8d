"""Executors: real Ray, and virtual time."""
