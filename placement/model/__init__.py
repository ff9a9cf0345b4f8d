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
from placement.model.demand import Bundle, Demand, DemandId, Running, TenantId, Topology
from placement.model.plan import Cause, Grant, Plan, Preemption, Reason, Resize, Share, SolveStats, Waiting
from placement.model.problem import Problem
from placement.model.resources import MILLI, Resources, format_amount, parse_amount, total
from placement.model.tenant import ROOT, Borrow, Policy, PreemptionPolicy, Reclaim, Tenant, Within

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
    "Node",
    "NodeId",
    "NodeState",
    "Plan",
    "Policy",
    "Preemption",
    "PreemptionPolicy",
    "Problem",
    "Reason",
    "Reclaim",
    "Requirement",
    "Resize",
    "Resources",
    "Running",
    "Selector",
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
