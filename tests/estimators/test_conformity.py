"""scikit-learn's own checks of an estimator: all of them, none expected to fail, also with layers that are unusual."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from minidl import Adam, BatchNorm, Dense, Dropout, ReLU
from minidl.estimators import MLPClassifier, MLPRegressor, NetworkClassifier, NetworkRegressor

# The other tests of estimators reach every line that these reach, and coverage would make these take twice as long.
pytestmark = pytest.mark.no_cover

UNUSUAL = {"dropout": 0.2, "normalization": "batch", "learning_rate_init": 0.01}
LAYERS = [Dense(16), BatchNorm(), ReLU(), Dropout(0.2)]
FAST = {"optimizer": Adam(0.01), "max_iter": 40}


@pytest.mark.filterwarnings("ignore")  # some checks ask for what warns: constant columns, one class, too few epochs
@parametrize_with_checks(
    [
        MLPClassifier(),
        MLPRegressor(),
        NetworkClassifier(),
        NetworkRegressor(),
        MLPClassifier(**UNUSUAL),
        MLPRegressor(**UNUSUAL),
        NetworkClassifier(LAYERS, **FAST),
        NetworkRegressor(LAYERS, **FAST),
    ]
)
def test_it_passes_every_check_of_scikit_learn(estimator, check):
    check(estimator)
