"""The oracle is the kernel's count of pages that it had to fill."""

import subprocess
import sys

import pytest

from segmentation.training.speed import keep_freed_memory

pytestmark = pytest.mark.slow

CODE = """
import resource, sys
import numpy as np
from segmentation.training.speed import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()

def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        tensors = [np.ones(2_000_000) for _ in range(3)]  # 16 MB each
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(3)
print(faults(20))
"""


def count_faults(how: str) -> int:
    ran = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
    return int(ran.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="speaks to the C library of Linux")
def test_memory_that_was_freed_is_used_again():
    if not keep_freed_memory():
        pytest.skip("not the GNU C library")
    # 20 rounds of 48 MB are 240,000 pages of 4 KiB, or 480 of 2 MiB.
    assert count_faults("kept") < count_faults("as it is") / 10
