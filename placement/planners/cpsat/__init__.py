"""The exact planner: one CP-SAT programme for the whole cluster."""

from placement.planners.cpsat.solve import CpSat

__all__ = ["CpSat"]
