"""Rounds of a time slice: who works in the next one, where and how large, by a linear programme over time fractions."""

from placement.planners.goodput.planner import Goodput

__all__ = ["Goodput"]
