"""The planner for large clusters: pools of like nodes, blocks of free units, patterns of victims."""

from placement.planners.pools.planner import ByValue, Pools

__all__ = ["ByValue", "Pools"]
