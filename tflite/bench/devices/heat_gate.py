"""Waiting until a device is cool enough to measure."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..plan import Plan
from .device_state import StateReader
from .shells import DeviceError, Shell, Stopped

_POLL_S = 5.0


class HeatGate:
    """Lets a run begin only at or below the plan's temperature.

    Args:
        report: called as `report("hot", temperature=degrees)` while it waits.
    """

    def __init__(
        self, plan: Plan, states: StateReader, shell: Shell, report: Callable[..., None]
    ) -> None:
        self._plan, self._states, self._shell, self._report = plan, states, shell, report

    def wait(self) -> dict[str, Any]:
        """The state of the device once it is cool enough.

        Raises:
            DeviceError: `too hot` for longer than the plan's `cool_down_s`.
            Stopped: the user interrupted.
        """
        plan, ceiling = self._plan, self._plan.max_temperature_c
        end = time.monotonic() + plan.cool_down_s
        while True:
            state = self._states.read()
            temperature = state["temperature_c"]
            if ceiling is None or temperature is None or temperature <= ceiling:
                return state
            if time.monotonic() >= end:
                raise DeviceError(
                    "too hot",
                    f"{temperature:g} C after {plan.cool_down_s:.0f} s of waiting: expected "
                    f"{ceiling:g} C or less: cool it, or raise --max-temperature",
                )
            self._report("hot", temperature=temperature)
            if self._shell.stop.wait(min(_POLL_S, max(end - time.monotonic(), 0.1))):
                raise Stopped
