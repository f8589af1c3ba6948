"""A mean log-probability, or a bound on one, as a figure: its interval is that of log Z.

mean of log p·Z over test images, log Z with its ends ──► Quality in nats
"""

from __future__ import annotations

import math

from service.contract import Quality
from training.ais import LogZ
from training.bennett import LadderLogZ

UNBOUNDED = "; the interval is unbounded: more runs or betas are needed"


def likelihood_figure(
    value: float, log_z: LogZ | LadderLogZ, *, name: str, protocol: str, command: str
) -> Quality:
    """The figure of `value`, in nats, which was found with log Z at `log_z.value`."""
    ends = (value + log_z.value - log_z.high, value + log_z.value - log_z.low)
    bounded = all(math.isfinite(end) for end in ends)
    return Quality(
        name=name,
        value=value,
        unit="nats",
        interval=ends if bounded else None,
        protocol=protocol if bounded else protocol + UNBOUNDED,
        command=command,
    )
