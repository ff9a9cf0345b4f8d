"""The planner's vocabulary, importable from one place."""

from placement.model.cluster import (
    ACCELERATOR_KEY,
    NODE_KEY,
    RAY_NODE_KEY,
    Node,
    NodeId,
    NodeState,
    Requirement,
    Selector,
)
from placement.model.demand import Bundle, Demand, DemandId, Running, Shape, TenantId, Topology
from placement.model.plan import Cause, Grant, Move, Plan, Preemption, Reason, Resize, Share, SolveStats, Waiting
from placement.model.problem import Problem, Reservation
from placement.model.resources import MILLI, Resources, format_amount, parse_amount, total
from placement.model.tenant import ROOT, Borrow, Objective, Policy, PreemptionPolicy, Reclaim, Tenant, Within

__all__ = [
    "ACCELERATOR_KEY",
    "MILLI",
    "NODE_KEY",
    "RAY_NODE_KEY",
    "ROOT",
    "Borrow",
    "Bundle",
    "Cause",
    "Demand",
    "DemandId",
    "Grant",
    "Move",
    "Node",
    "NodeId",
    "NodeState",
    "Objective",
    "Plan",
    "Policy",
    "Preemption",
    "PreemptionPolicy",
    "Problem",
    "Reason",
    "Reclaim",
    "Requirement",
    "Reservation",
    "Resize",
    "Resources",
    "Running",
    "Selector",
    "Shape",
    "Share",
    "SolveStats",
    "Tenant",
    "TenantId",
    "Topology",
    "Waiting",
    "Within",
    "format_amount",
    "parse_amount",
    "total",
]
