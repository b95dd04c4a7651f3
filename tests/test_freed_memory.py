"""The oracle is the kernel's count of pages that it had to fill."""

import os
import subprocess
import sys

import pytest

from segmentation.freed_memory import keep_freed_memory

pytestmark = pytest.mark.slow

CODE = """
import resource, sys
import numpy as np
from segmentation import freed_memory

if sys.argv[1]:
    assert getattr(freed_memory, sys.argv[1])()

def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        tensors = [np.ones(2_000_000) for _ in range(3)]  # 16 MB each
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(3)
print(faults(20))
"""


def count_faults(function: str) -> int:
    # As Dask starts its workers: the C library is to give back all it can.
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", CODE, function]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="speaks to the C library of Linux")
@pytest.mark.parametrize("function", ["keep_freed_memory", "keep_freed_blocks"])
def test_memory_that_was_freed_is_used_again(function):
    if not keep_freed_memory():
        pytest.skip("not the GNU C library")
    # 20 rounds of 48 MB are 240,000 pages of 4 KiB, or 480 of 2 MiB.
    assert count_faults(function) < count_faults("") / 10
