"""Metrics of rows that come in blocks: what the tests of metrics compute with."""

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from minidl.metrics import ScoredRows

CUTS = st.lists(st.integers(0, 40))
"""Where rows are cut into blocks; also at ends and twice, which makes no block."""

WEIGHTS = st.floats(0.125, 8)


def sums_of(metric, loss, scores, targets, weights=None):
    return np.array(metric.sums(ScoredRows(loss, scores, targets), weights))


def value_of(metric, loss, scores, targets, weights=None, cuts=()):
    """The metric of rows whose sums were added over blocks; the whole has the same sums."""
    places = sorted({0, len(scores), *(cut for cut in cuts if cut < len(scores))})
    blocks = [
        sums_of(metric, loss, scores[a:b], targets[a:b], None if weights is None else weights[a:b])
        for a, b in pairwise(places)
    ]
    whole = sums_of(metric, loss, scores, targets, weights)
    # Sums of up to 40 numbers in two orders.
    np.testing.assert_allclose(sum(blocks), whole, rtol=1e-13, atol=1e-13 * np.nan_to_num(np.abs(whole)).max())
    return metric.value(sum(blocks), float(len(scores) if weights is None else weights.sum()))
