"""The terms by which plans are compared: each with its unit and its weight, the most important first.

Plans are compared term by term (``placement.score``); the weights only sum them up to the one number that the answer
states as its objective. Within the first term a demand counts ``PRIORITY_STEP`` times one that comes a class later.
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
PERFORMANCE = Term("performance", "bundles that start, each times its speed there", 1e2)
HARM = Term("harm", "minus the bundles of running work that stop", 10.0)
LOCALITY = Term("locality", "preferred topologies that hold", 1.0)
FRAGMENTATION = Term("fragmentation", "minus the nodes that new work shares out", 1e-2)

TERMS = (ADMITTED, ENTITLEMENT, PERFORMANCE, HARM, LOCALITY, FRAGMENTATION)
