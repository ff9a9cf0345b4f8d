"""The terms by which plans are compared: each with its unit and its weight, the most important first.

Plans are compared term by term (``placement.score``); the weights only sum them up to the one number that the answer
states as its objective.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """One aim; larger values are better, so harm counts negatively."""

    name: str
    unit: str
    weight: float


ADMITTED = Term("admitted", "pending work that starts, in the order of the laws, as a fraction (0..1)", 1e6)
ENTITLEMENT = Term("entitlement", "minus the sum of tenants' shortfalls from their entitled share (0..1 each)", 1e4)
PERFORMANCE = Term("performance", "throughput of work that starts, in bundles of its first form at speed 1", 1e2)
HARM = Term("harm", "minus the bundles of running work that stop", 10.0)
MOVED = Term("moved", "minus the bundles of running work that move", 5.0)
INTERFERENCE = Term("interference", "minus the throughput lost to neighbours on a node, in bundles", 2.0)
LOCALITY = Term("locality", "preferred topologies that hold, and parts of gangs near their inputs (0..1 each)", 1.0)
HETEROGENEITY = Term("heterogeneity", "minus the GPUs beside which work without GPUs takes the node", 0.1)
NODES = Term("nodes", "minus the nodes that new work shares out", 1e-2)
FRAGMENTATION = Term("fragmentation", "minus the GPUs that expected work could use before and cannot after", 1e-3)

TERMS = (
    ADMITTED,
    ENTITLEMENT,
    PERFORMANCE,
    HARM,
    MOVED,
    INTERFERENCE,
    LOCALITY,
    HETEROGENEITY,
    NODES,
    FRAGMENTATION,
)
"""What every plan is compared by, and what its objective sums up where the policy is strict."""

STARTED_VALUE = Term("started_value", "value of work that starts, in accelerators of the lowest class", 1.0)
GROWN_VALUE = Term("grown_value", "value of running work that grows, in accelerators of the lowest class", 1.0)
QUOTA_VALUE = Term("quota_value", "value of use within quotas, in accelerators of the lowest class", 1.0)
LOST_VALUE = Term("lost_value", "minus the value of work that yields, in accelerators of the lowest class", 1.0)

VALUE_TERMS = (STARTED_VALUE, GROWN_VALUE, QUOTA_VALUE, LOST_VALUE)
"""The objective where the policy weighs, in the order of ``placement.value.plan_terms``; the others break ties."""

# What work is worth where the plan of the largest total value is asked for (``placement.value``)

PRIORITY_BASE = 8.0
"""A priority class is worth so many times the class below it."""
MOST_CLASSES = 6
"""Classes above the lowest are spread over at most so many powers of the base, so that sums stay exact enough."""
ENTITLED_VALUE = 8.0
"""What a tenant's use within its quota is worth besides, per accelerator: one class of the lowest's worth."""
LOSS_HORIZON_S = 4 * 3600.0
"""Work that is lost weighs as much as its loss relative to so many seconds of running."""
RESTART_S = 300.0
"""What a stop costs besides the work that is lost: the time until it runs again as before."""
FIRST_COME = 0.01
"""What a day of waiting adds to a workload's worth where waiting lifts nobody: only ties are broken by it."""
