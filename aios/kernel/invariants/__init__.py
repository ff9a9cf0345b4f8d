"""What must hold whatever goes wrong outside: of a state, of a step, of a whole log, and of time.

``violations`` looks at a state, ``turn_violations`` and ``harm`` at the events of a turn; production runs the first
over what a turn has touched, tests and simulation run all of them over everything. ``History`` remembers what one state
cannot tell. What concerns time is in ``liveness``; the numbers are those of ``docs/simulation.md``.
"""

from aios.kernel.invariants.harm import harm, neglect
from aios.kernel.invariants.history import History
from aios.kernel.invariants.liveness import bound_s, idle_beside_work, left_behind, maimed, stuck
from aios.kernel.invariants.safety import violations
from aios.kernel.invariants.steps import judged, turn_violations

__all__ = [
    "History",
    "bound_s",
    "harm",
    "idle_beside_work",
    "judged",
    "left_behind",
    "maimed",
    "neglect",
    "stuck",
    "turn_violations",
    "violations",
]
