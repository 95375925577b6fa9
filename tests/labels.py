"""What a test's name has of a parameter."""


def label(value):
    """Return how the value is written; None, for pytest's own name, where that has an address, as a function's has.

    The names are then the same in each process, which tests in several processes need.
    """
    return None if " at 0x" in repr(value) else repr(value)
