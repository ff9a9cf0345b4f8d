"""Policies of other schedulers, each after its paper or manual, to compare with.

Each one is a planner that follows its own rules about who runs; all of them keep capacity, gangs, selectors and
required topology. To add one: a file with its source in the docstring, and a line in ``ALL``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from placement.baselines.conservative import Conservative
from placement.baselines.drf_reclaim import DrfReclaim
from placement.baselines.easy import Easy
from placement.baselines.fgd import Fgd
from placement.baselines.fifo import Fifo
from placement.baselines.fits import DotProduct, Fits, RandomFit
from placement.baselines.gavel import policies as in_rounds
from placement.baselines.las import Las
from placement.baselines.multifactor import Multifactor
from placement.baselines.ray import Ray
from placement.baselines.shortest import Sjf, Srtf
from placement.planners.base import Planner

ALL: tuple[tuple[Planner, str], ...] = (
    (Fifo(), "First in, first out; who cannot start blocks all who came later."),
    (Easy(), "Priority order; one reservation, and who does not delay it may pass (EASY backfill)."),
    (Conservative(), "Priority order; a reservation for everyone who waits (conservative backfill, as Slurm's)."),
    (Multifactor(), "Slurm's multifactor priority with fair tree, and conservative backfill."),
    (Ray(), "Ray's placement groups in the order of time; who fits, starts, and nobody has a claim."),
    (DrfReclaim(), "Dominant-resource fairness with borrowing and reclaim, as Kueue and YuniKorn."),
    (Las(), "Least attained service in queues, with preemption (Tiresias)."),
    (Srtf(), "Shortest remaining time first, with preemption; needs estimates."),
    (Sjf(), "Shortest job first, without preemption; needs estimates."),
    (Fits(), "In the order of arrival whoever fits, on the node that is left with the least (best fit)."),
    (DotProduct(), "In the order of arrival whoever fits, on the node of the smallest dot product (Tetris, ATC'23)."),
    (Fgd(), "In the order of arrival whoever fits, by fragmentation gradient descent (ATC'23)."),
    (RandomFit(), "In the order of arrival whoever fits, on any node that holds it."),
    *in_rounds(),
)

BASELINES: Mapping[str, Planner] = MappingProxyType({planner.name: planner for planner, _ in ALL})
"""Every baseline by its name."""

SENTENCES: Mapping[str, str] = MappingProxyType({planner.name: sentence for planner, sentence in ALL})
"""What each baseline does, in one sentence."""
