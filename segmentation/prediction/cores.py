"""How many processor cores this process may use, and how many streams it should run on them."""

import os
from pathlib import Path

# Each stream may hold the activations of a tile of the largest area.
MOST_STREAMS = 4


def streams_for(images: int) -> int:
    """Return how many threads should call an engine for so many images: one a core, within the limits of memory."""
    return max(1, min(images, available_cores(), MOST_STREAMS))


def available_cores() -> int:
    """Return how many cores this process may use, by its affinity and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for quota in _container_quotas():
        cores = min(cores, max(1, round(quota)))
    return cores


def _container_quotas(root: Path = Path("/sys/fs/cgroup")) -> list[float]:
    """Return the cores that Linux control groups, version 2 or 1, allow this process; none without a limit."""
    quotas = []
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join((root / file).read_text() for file in files).split()
        except (OSError, ValueError):
            continue  # not Linux, or the other version
        if quota not in ("max", "-1"):
            quotas.append(int(quota) / int(period))
    return quotas
