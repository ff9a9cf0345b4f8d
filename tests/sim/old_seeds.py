"""Seeds that found a bug once, each with what it was; they are replayed in every test run.

A schedule changes when the simulator does, so a seed keeps its promise best beside a test of the bug itself.
"""

from __future__ import annotations

OLD_SEEDS: dict[int, str] = {
    2: "The answer of a write was lost and the log could not be read: the next turn wrote the same events again.",
    13: "A start added the log's lead to a clock that had been set back, and a rounding took it below the log's time.",
    17: "The same rounding.",
    49: "Work waited for the only node large enough, which was in quarantine: the judge called the cluster idle.",
    51: "Work waited for the only node large enough, which had just become free: the judge counted the time before.",
    782: "A pause at once cut the grace of work that was suspended: the judge took it for a second order to yield.",
    879: "A pause at once cut the grace of a pause before it: the same.",
    961: "A wait of less than the clock can tell apart: virtual time stood still and the loop turned for ever.",
}
