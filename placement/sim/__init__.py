"""Simulation's own parts, pure: clusters in short form, estimates that err, and what a run came to in numbers."""
