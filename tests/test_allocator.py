import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
import minidl
x = np.ones((128, 500), np.float32)
for calls in (10, 200):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(calls):
        minidl.functional.relu(x)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what is kept is glibc's memory")
def test_the_arrays_of_a_step_are_made_without_asking_the_system_for_memory():
    # 256 KB an array: without the kept memory each call takes a hundred pages or so.
    result = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, timeout=60)
    assert int(result.stdout) < 200
