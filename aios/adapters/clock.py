"""Wall time that never jumps: what the clock said once, and the seconds that have really passed since."""

from __future__ import annotations

import time


class SteadyClock:
    """Seconds since 1970 as this process counts them; a machine that sleeps ages, a clock that is set does not."""

    def __init__(self) -> None:
        self._offset_s = time.time() - _passed_s()

    def now_s(self) -> float:
        return self._offset_s + _passed_s()


def _passed_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
