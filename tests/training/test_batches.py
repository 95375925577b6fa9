"""Rows that belong together, the blocks they are computed in, and the sums of figures over them."""

import numpy as np
import pytest

from minidl import Loss, MeanSquaredError
from minidl.training.batches import ROWS_AT_ONCE, Rows, Sums


def rows(count, weighted=True):
    """Inputs of which each row is its number, targets that follow from it, and weights 1, 2, 3 ..."""
    numbers = np.arange(count)
    return Rows(numbers[:, np.newaxis], 10 * numbers, numbers + 1.0 if weighted else None)


@pytest.mark.parametrize("chosen", [slice(2, 5), np.array([7, 0, 3])])
@pytest.mark.parametrize("weighted", [True, False])
def test_a_part_has_the_inputs_targets_and_weights_of_its_rows_and_the_mean_weight_of_the_whole(chosen, weighted):
    part, numbers = rows(8, weighted)[chosen], np.arange(8)[chosen]
    assert len(part) == 3
    assert part.x[:, 0].tolist() == numbers.tolist()
    assert part.targets.tolist() == (10 * numbers).tolist()
    assert (part.weights is None) != weighted
    if weighted:
        assert part.weights.tolist() == (numbers + 1).tolist()
    assert part.weight == (sum(numbers + 1) if weighted else 3)
    assert part.mean_weight == (4.5 if weighted else 1)
    assert part[:1].mean_weight == part.mean_weight


@pytest.mark.parametrize("count", [1, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1, 3 * ROWS_AT_ONCE])
def test_blocks_are_all_rows_in_their_order_and_none_is_larger_than_fits(count):
    whole = rows(count)
    blocks = list(whole.blocks())
    assert [number for block in blocks for number in block.x[:, 0].tolist()] == list(range(count))
    assert all(block.fits_a_block for block in blocks)
    assert len(blocks) == -(-count // ROWS_AT_ONCE)
    assert whole.fits_a_block == (len(blocks) == 1)
    assert sum(block.weight for block in blocks) == whole.weight


@pytest.mark.parametrize("weighted", [True, False])
def test_the_sums_of_parts_add_up_to_the_weighted_means_of_the_whole(weighted):
    rng, loss = np.random.default_rng(0), MeanSquaredError()
    scores, targets = rng.normal(size=(9, 1)), rng.normal(size=(9, 1))
    weights = rng.random(9) if weighted else None
    whole, sums = Rows(scores, targets, weights), Sums()
    for part in (slice(4), slice(4, 9)):
        batch = whole[part]
        mean, _ = loss.mean(scores[part], batch.targets, batch.weights)
        sums += Sums.of_batch(loss, scores[part], batch, mean * batch.weight)
    errors = (scores - targets)[:, 0]
    assert sums.means(loss) == pytest.approx(
        {
            "loss": np.average(errors**2, weights=weights),
            "mean_absolute_error": np.average(np.abs(errors), weights=weights),
        },
        rel=1e-12,
    )
    assert sums.mean_loss == sums.means(loss)["loss"]


def test_a_loss_without_a_metric_has_its_own_mean_alone():
    class Plain(Loss):
        pass

    assert Sums.of_batch(Plain(), np.zeros((4, 1)), rows(4), 5.0).means(Plain()) == {"loss": 0.5}


def test_before_any_row_that_counts_a_mean_is_no_number():
    means = Sums().means(MeanSquaredError())
    assert list(means) == ["loss", "mean_absolute_error"]
    assert np.isnan(list(means.values())).all()
