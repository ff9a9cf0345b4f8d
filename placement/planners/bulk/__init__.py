"""The greedy planner for large questions: the laws of ``planners.admission`` on grouped nodes and like demands."""

from placement.planners.bulk.plan import answer, is_large

__all__ = ["answer", "is_large"]
