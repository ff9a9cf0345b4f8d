"""Every constant of the goodput planner, with its unit and its reason."""

from __future__ import annotations

ROUND_S = 360.0
"""Seconds of a round where the policy names no time slice: Gavel's (OSDI'20, section 7)."""

SHORTNESS = 1.0
"""Exponent of 1 / remaining time in a job's worth. 1 makes worth per GPU the rate at which jobs are finished: shortest
remaining first, which is best for the mean completion time on one machine (Schrage, 1968)."""

UNFAIRNESS = 1.5
"""Exponent of the projected finish-time fairness in a job's worth: 0 leaves the longest to the end; 1, 1.5 and 2 give a
worst rho of 1.64, 1.48 and 1.44 on Gavel's static trace, whose batch then ends at 18.3, 18.3 and 18.5 h."""

WIDTH = 0.25
"""Exponent of a gang's size in its worth. 0 would be right for work that flows; a wide gang has to find all its places
free at once, and beside small work that comes and goes that is seldom. On Gavel's continuous trace at full load 0.25
takes a sixth off the longest waits for 1 % of the mean completion time, 0.5 no more for 5 %."""

LATE_PRICE = 2.0
"""Worth of a batch that ends one round sooner, in the worth of a round for all jobs there are. On Gavel's static trace
the batch ends at 18.6 h with 1, at 18.3 h with 2 and at 18.2 h with 3. Where jobs keep coming there is no batch: it is
multiplied by the probability that nobody comes before its end."""

FLOOR_PRICE = 10.0
"""Worth of a tenant's guarantee per whole cluster that it is short of, in jobs that one round would finish."""

RESTART_S = 30.0
"""Seconds that stopping and starting again takes, launch and loading included: what it costs to take turns."""

OVERRUN = 0.2
"""Part of the work done that is thought to be left of a job that has outrun its estimate: what is left on average where
estimates have a log-normal error of 30 %."""

LEAST_LEFT_S = 1.0
"""Seconds; what is thought to have less than this left has outrun its estimate."""

MOST_JOBS = 600
"""Jobs in one programme; the least worth of those that wait are left out. All who could start are among them unless the
cluster holds more than that, and the programme stays at some ten milliseconds."""

KERNEL = 20
"""Options that the programme over fractions left out and that are looked at again when it is made whole; 40 gave the
same rounds within chance."""

MOST_BRANCHES = 5
"""Nodes of the solver's search tree for a round; 50 took half as long again and gave the same within chance."""

GAP = 0.005
"""Relative distance from the bound at which a round is good enough: the next one comes soon."""

WHOLE = 1e-6
"""How near to 0 or 1 a fraction counts as whole: the solver's own tolerance."""
