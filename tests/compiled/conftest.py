"""What tests of compiled code share."""

import pytest

from minidl.compiled import is_on, switch


@pytest.fixture
def compiled_code():
    """Within a test compiled code is called; after it the switch is as it was."""
    pytest.importorskip("numba")
    before = is_on()
    switch(True)
    yield
    switch(before)
