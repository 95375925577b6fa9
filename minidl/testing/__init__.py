"""Checks for your own parts: one call tests a layer, a loss, an optimizer or another part.

``check_layer(MyLayer(), input_shape=(5,))`` runs every check. The first check that fails raises a `CheckFailure`, an
AssertionError, with the check's name, the parameter, the worst index, both values, and the usual cause. With pytest
each check can be a separate test:

    @pytest.mark.parametrize(("name", "check"), layer_checks(MyLayer(), input_shape=(5,)))
    def test_my_layer(name, check):
        check()
"""

from minidl.testing.averages import average_checks, check_average
from minidl.testing.failures import CheckFailure
from minidl.testing.initializers import check_initializer, initializer_checks
from minidl.testing.layers import check_layer, layer_checks
from minidl.testing.losses import check_loss, loss_checks
from minidl.testing.metrics import check_metric, metric_checks
from minidl.testing.numerical import numerical_gradient
from minidl.testing.optimizers import check_optimizer, optimizer_checks
from minidl.testing.schedules import check_schedule, schedule_checks

__all__ = [
    "CheckFailure",
    "average_checks",
    "check_average",
    "check_initializer",
    "check_layer",
    "check_loss",
    "check_metric",
    "check_optimizer",
    "check_schedule",
    "initializer_checks",
    "layer_checks",
    "loss_checks",
    "metric_checks",
    "numerical_gradient",
    "optimizer_checks",
    "schedule_checks",
]


def __dir__() -> list[str]:
    return sorted(__all__)
