"""NetworkClassifier and NetworkRegressor: a Sequential and a Trainer made by hand are the oracle."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.utils.class_weight import compute_sample_weight

from minidl import (
    GRU,
    Adam,
    Callback,
    Dense,
    Dropout,
    EarlyStopping,
    Embedding,
    ExponentialMovingAverage,
    Flatten,
    GlorotUniform,
    Hinge,
    Huber,
    Masking,
    MeanAbsoluteError,
    MeanSquaredError,
    Momentum,
    ReLU,
    Rescale,
    Sequential,
    SigmoidCrossEntropy,
    Softmax,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
)
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, DivergenceError
from minidl.estimators import NetworkClassifier, NetworkRegressor

RANDOM_STATE = 5


def problem(kind="three classes", rows=60):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4))
    signal = x[:, :3] + x[:, 1:] ** 2
    targets = {
        "two classes": (signal[:, 0] > 1).astype(int),
        "three classes": signal.argmax(axis=1),
        "several labels": (signal > 1).astype(int),
        "number": signal[:, 0],
        "several numbers": signal,
    }
    return x, targets[kind]


def by_hand(x, y, layers, outputs, loss, optimizer="adam", epochs=3, sample_weight=None, **settings):
    """Train without the estimator; rows are not shuffled, so the seed of the trainer does not matter."""
    random = np.random.RandomState(RANDOM_STATE)
    elements = [*layers, Dense(outputs, initializer=GlorotUniform()), loss]
    model = Sequential(elements, input_shape=x.shape[1:], seed=random.randint(2**31), dtype="float64")
    trainer = Trainer(model, optimizer, shuffle=False, seed=random.randint(2**31), **settings)
    trainer.fit(x, y, epochs=epochs, sample_weight=sample_weight, progress=False)
    return trainer


def estimator_of(kind, layers=None, **settings):
    make = NetworkRegressor if "number" in kind else NetworkClassifier
    return make(layers, **{"max_iter": 3, "shuffle": False, "random_state": RANDOM_STATE} | settings)


KINDS = {
    "two classes": (1, SigmoidCrossEntropy),
    "three classes": (3, SoftmaxCrossEntropy),
    "several labels": (3, SigmoidCrossEntropy),
    "number": (1, MeanSquaredError),
    "several numbers": (3, MeanSquaredError),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_layer_and_the_loss_follow_from_the_targets(kind):
    x, y = problem(kind)
    outputs, loss = KINDS[kind]
    layers = [Dense(6), ReLU(), Dropout(0.25)]
    estimator = estimator_of(kind, layers).fit(x, y)
    trainer = by_hand(x, y, [Dense(6), ReLU(), Dropout(0.25)], outputs, loss())
    np.testing.assert_array_equal(estimator.model_.parameters, trainer.model.parameters)
    assert estimator.history_ == trainer.history
    assert estimator.history_ is estimator.trainer_.history
    assert estimator.n_iter_ == 3
    if hasattr(estimator, "predict_proba"):
        probabilities = trainer.model.predict_proba(x)
        if kind == "two classes":
            probabilities = np.hstack([1 - probabilities, probabilities])
        np.testing.assert_allclose(estimator.predict_proba(x), probabilities, rtol=1e-12)
    np.testing.assert_array_equal(estimator.predict(x), trainer.model.predict(x))
    assert layers[0].input_shape is None  # each fit uses copies


def test_without_layers_the_network_is_linear():
    x, y = problem("number")
    estimator = estimator_of("number").fit(x, y)
    assert [type(layer) for layer in estimator.model_.layers] == [Dense]


def double(inputs, rng):
    return 2 * inputs


SETTINGS = {
    "optimizer": {"optimizer": Momentum(0.05, nesterov=True)},
    "optimizer's name": {"optimizer": "rmsprop"},
    "batch size": {"batch_size": 7},
    "whole batch": {"batch_size": None},
    "clip norm": {"clip_norm": 0.01},
    "clip value": {"clip_value": 0.001},
    "average": {"average": ExponentialMovingAverage(0.9)},
    "augment": {"augment": double},
    "metrics": {"metrics": ["mean_absolute_error", "r2_score"]},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_settings_of_the_trainer_reach_it(settings):
    x, y = problem("number")
    estimator = estimator_of("number", [Dense(6), ReLU()], **settings).fit(x, y)
    trainer = by_hand(x, y, [Dense(6), ReLU()], 1, MeanSquaredError(), **settings)
    np.testing.assert_array_equal(estimator.model_.parameters, trainer.model.parameters)
    assert estimator.history_ == trainer.history
    plain = by_hand(x, y, [Dense(6), ReLU()], 1, MeanSquaredError())
    assert estimator.history_ != plain.history or "average" in settings
    assert "metrics" in settings or not np.array_equal(estimator.model_.parameters, plain.model.parameters)


def test_an_optimizer_and_an_average_serve_each_fit_anew():
    x, y = problem("number")
    optimizer, average = Adam(0.01), ExponentialMovingAverage(0.9)
    estimator = estimator_of("number", optimizer=optimizer, average=average)
    first = estimator.fit(x, y).predict(x)
    np.testing.assert_array_equal(estimator.fit(x, y).predict(x), first)
    assert optimizer.step == 0
    assert average.vector is None


def test_lbfgs_takes_all_rows():
    x, y = problem("number")
    estimator = estimator_of("number", optimizer="lbfgs", batch_size=None, max_iter=200).fit(x, y)
    design = np.column_stack([x, np.ones(60)])
    expected = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(estimator.predict(x), expected, atol=1e-4)
    assert not hasattr(estimator, "partial_fit")


def test_a_loss_may_be_given():
    x, y = problem("number")
    for loss in (Huber(), MeanAbsoluteError()):
        estimator = estimator_of("number", [Dense(6)], loss=loss).fit(x, y)
        trainer = by_hand(x, y, [Dense(6)], 1, type(loss)())
        np.testing.assert_array_equal(estimator.model_.parameters, trainer.model.parameters)
    x, y = problem("two classes")
    estimator = estimator_of("two classes", [Dense(6)], loss=SoftmaxCrossEntropy()).fit(x, y)
    trainer = by_hand(x, y, [Dense(6)], 2, SoftmaxCrossEntropy())
    np.testing.assert_array_equal(estimator.predict_proba(x), trainer.model.predict_proba(x))
    assert not hasattr(estimator_of("two classes", loss=Hinge()).fit(x, y), "predict_proba")


def whole(outputs=3):
    return [Dense(6), Tanh(), Dense(outputs, initializer=GlorotUniform())]


def test_a_list_that_ends_with_a_loss_is_the_whole_network():
    x, y = problem()
    estimator = estimator_of("three classes", [*whole(), SoftmaxCrossEntropy()]).fit(x, y)
    trainer = by_hand(x, y, [Dense(6), Tanh()], 3, SoftmaxCrossEntropy())
    np.testing.assert_array_equal(estimator.model_.parameters, trainer.model.parameters)
    with pytest.raises(ArgumentError, match="the layers end with a loss, and loss= gives another one: remove one"):
        estimator_of("three classes", [*whole(), SoftmaxCrossEntropy()], loss=Hinge()).fit(x, y)


BUILDERS = {
    "hidden layers": lambda seed, input_shape: Sequential([Dense(6), Tanh()], input_shape=input_shape, seed=seed),
    "not set up": lambda: Sequential([Dense(6), Tanh()]),
    "whole": lambda outputs, seed: Sequential([*whole(outputs), SoftmaxCrossEntropy()], seed=seed),
}


@pytest.mark.parametrize("build_model", BUILDERS.values(), ids=BUILDERS)
def test_a_function_may_build_the_network(build_model):
    x, y = problem()
    estimator = estimator_of("three classes", build_model=build_model).fit(x, y)
    trainer = by_hand(x, y, [Dense(6), Tanh()], 3, SoftmaxCrossEntropy())
    if build_model is not BUILDERS["hidden layers"]:  # its values are drawn before those of the output layer
        np.testing.assert_array_equal(estimator.model_.parameters, trainer.model.parameters)
    assert [type(layer) for layer in estimator.model_.layers] == [Dense, Tanh, Dense]
    assert estimator.model_.output_shape == (3,)
    assert estimator.model_.dtype == np.float64


def test_a_function_gets_the_arguments_that_it_names():
    seen = {}

    def build(outputs, *, seed, input_shape):
        seen.update(outputs=outputs, seed=seed, input_shape=input_shape)
        return Sequential([Dense(2)])

    for kind, outputs in {"two classes": 1, "three classes": 3, "several numbers": 3}.items():
        estimator_of(kind, build_model=build).fit(*problem(kind))
        assert (seen["outputs"], seen["input_shape"]) == (outputs, (4,))
        assert seen["seed"] == np.random.RandomState(RANDOM_STATE).randint(2**31)


def test_wrong_parts_of_a_network_are_named():
    x, y = problem()
    with pytest.raises(ArgumentError, match="layers and build_model are both given: give only one"):
        NetworkClassifier([Dense(2)], build_model=lambda: Sequential([Dense(2)])).fit(x, y)
    with pytest.raises(ArgumentTypeError, match=r"build_model returned \[Dense.*; it must return a Sequential"):
        NetworkClassifier(build_model=lambda: [Dense(2)]).fit(x, y)
    for name, value in {
        "batch_size": 0,
        "validation_fraction": 1.0,
        "clip_norm": 0,
        "optimizer": 3,
        "loss": "mse",
    }.items():
        with pytest.raises(ValueError, match=f"The '{name}' parameter of NetworkClassifier must be"):
            NetworkClassifier(**{name: value}).fit(x, y)


@pytest.mark.parametrize("class_weight", [{"a": 3, "b": 0.5, "c": 1}, "balanced"])
def test_class_weights_are_weights_of_rows(class_weight):
    x, y = problem()
    names = np.array(["a", "b", "c"])[y]
    estimator = estimator_of("three classes", class_weight=class_weight).fit(x, names)
    trainer = by_hand(x, y, [], 3, SoftmaxCrossEntropy(), sample_weight=compute_sample_weight(class_weight, names))
    np.testing.assert_array_equal(estimator.model_.parameters, trainer.model.parameters)
    assert not np.array_equal(estimator.model_.parameters, by_hand(x, y, [], 3, SoftmaxCrossEntropy()).model.parameters)


def test_class_weights_of_zero_leave_nothing_to_train_on():
    x, y = problem()
    with pytest.raises(ArgumentError, match="class_weight"):
        NetworkClassifier(class_weight={0: 0, 1: 0, 2: 0}, standardize=True).fit(x, y)


def ids_and_labels(rows=40):
    ids = np.random.default_rng(0).integers(1, 6, (rows, 5))
    return ids, np.arange(rows) % 2


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_wrong_id_is_named_as_the_user_gave_it(shuffle):
    x, y = ids_and_labels()
    x[23, 4] = 77
    estimator = NetworkClassifier([Embedding(6, 4), GRU(4)], shuffle=shuffle)
    with pytest.raises(DataError, match="'embedding_1': row 23, position 4, holds 77; ids are the whole numbers 0 to"):
        estimator.fit(x, y)


@pytest.mark.parametrize(
    ("layers", "what"),
    [
        ([Embedding(6, 4, padding_id=0), GRU(4)], "ids that Embedding looks for"),
        ([Sequential([Embedding(6, 4)]), GRU(4)], "ids that Embedding looks for"),
        ([Masking(), GRU(4)], "padding that Masking looks for"),
    ],
)
def test_inputs_that_must_not_be_scaled_are_not_standardized(layers, what):
    x, y = ids_and_labels()
    x = x[..., np.newaxis] if isinstance(layers[0], Masking) else x
    with pytest.raises(ArgumentError, match=f"standardize=True would scale the {what}: leave it out"):
        NetworkClassifier(layers, standardize=True).fit(x, y)


class Count(Callback):
    """Counts epochs."""

    epochs = 0

    def on_epoch_end(self, trainer):
        self.epochs += 1
        trainer.seen = self.epochs


def test_callbacks_are_called_as_copies():
    x, y = problem()
    count, epochs = Count(), []
    estimator = estimator_of("three classes", callbacks=[count, lambda trainer: epochs.append(trainer.epoch)])
    assert estimator.fit(x, y).trainer_.seen == estimator.fit(x, y).trainer_.seen == 3
    assert count.epochs == 0
    assert epochs == [1, 2, 3] * 2


def test_callbacks_may_go_by_rows_held_out():
    x, y = problem("number")
    settings = {"callbacks": [EarlyStopping(patience=3)], "validation_fraction": 0.2, "max_iter": 300}
    estimator = estimator_of("number", [Dense(30), ReLU()], optimizer=Adam(0.05), **settings).fit(x, y)
    losses = estimator.history_["val_loss"]
    assert estimator.n_iter_ == len(losses) == int(np.argmin(losses)) + 1 + 3 < 300
    assert estimator.trainer_.position.rows == 48
    with pytest.raises(ArgumentError, match="val_loss"):
        estimator_of("number", callbacks=[EarlyStopping()]).fit(x, y)


def test_classes_keep_their_shares_among_rows_held_out():
    x, _ = problem(rows=100)
    y = np.repeat(["a", "b"], [90, 10])
    estimator = estimator_of("two classes", validation_fraction=0.2, metrics=["accuracy"], max_iter=60)
    estimator.set_params(shuffle=True, build_model=lambda: Sequential([Rescale(0.0)])).fit(x, y)
    # Of no information the larger class is predicted, which 18 of the 20 rows are of.
    assert estimator.history_["val_accuracy"][-1] == pytest.approx(0.9, abs=1e-12)


def test_in_the_order_of_time_the_last_rows_are_held_out():
    x = np.arange(50.0)[:, np.newaxis]
    seen = []

    class See(Rescale):
        def forward(self, x, training=False):
            seen.append((training, x[:, 0].tolist()))
            return super().forward(x, training)

    settings = {"build_model": lambda: Sequential([See(0.01)]), "batch_size": 10, "max_iter": 1}
    NetworkRegressor(validation_fraction=0.2, shuffle=False, **settings).fit(x, x[:, 0])
    assert [rows for training, rows in seen if training] == np.arange(40.0).reshape(4, 10).tolist()
    assert [row for training, rows in seen[-1:] for row in rows] == np.arange(40.0, 50.0).tolist()


def test_layers_that_end_with_a_softmax_are_refused():
    with pytest.raises(ArgumentError, match=r"end with Softmax\(\): remove it and the output layer"):
        NetworkClassifier([Dense(3), Softmax()]).fit(np.eye(6), np.arange(6) % 3)


def test_epochs_are_printed_or_shown_in_a_bar(capsys):
    x, y = problem()
    estimator = estimator_of("three classes", verbose=True, metrics=["accuracy"]).fit(x, y)
    lines = capsys.readouterr().out.splitlines()
    history = estimator.history_
    assert lines == [
        f"Epoch {epoch}: loss = {history['loss'][epoch - 1]:.6g}, accuracy = {history['accuracy'][epoch - 1]:.6g}"
        for epoch in (1, 2, 3)
    ]
    estimator.set_params(verbose="bar").fit(x, y)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "epoch 3/3 loss" in printed.err
    estimator.set_params(verbose=0).fit(x, y)
    assert capsys.readouterr() == ("", "")


def test_a_warm_start_goes_on_with_the_network_and_partial_fit_with_the_optimizer():
    x, y = problem("number")
    estimator = estimator_of("number", [Dense(6)], warm_start=True, optimizer=Adam(0.01)).fit(x, y)
    model, trainer, before = estimator.model_, estimator.trainer_, estimator.model_.parameters.copy()
    estimator.fit(x, y)
    assert estimator.model_ is model
    assert estimator.trainer_ is not trainer
    assert estimator.n_iter_ == 3
    assert not np.array_equal(model.parameters, before)
    trainer, steps = estimator.trainer_, estimator.trainer_.step
    estimator.partial_fit(x, y).partial_fit(x, y)
    assert estimator.trainer_ is trainer
    assert trainer.step == steps + 4
    assert len(estimator.history_["loss"]) == 5


def test_partial_fits_are_the_epochs_of_one_fit():
    x, y = problem("number")
    whole = estimator_of("number", [Dense(6)]).fit(x, y)
    parts = estimator_of("number", [Dense(6)])
    for _ in range(3):
        parts.partial_fit(x, y)
    np.testing.assert_array_equal(parts.model_.parameters, whole.model_.parameters)
    assert parts.history_ == whole.history_


def test_a_run_that_diverges_says_so():
    x, y = problem("number")
    with pytest.raises(DivergenceError, match="the run diverges. Lower the learning rate"):
        estimator_of("number", [Dense(6)], optimizer=Momentum(1e6), max_iter=100).fit(x, y)


def interrupt(trainer):
    raise KeyboardInterrupt


def test_after_ctrl_c_the_network_is_that_of_the_last_whole_step():
    x, y = problem()
    estimator = estimator_of("three classes", callbacks=[interrupt])
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(x, y)
    once = estimator_of("three classes", max_iter=1).fit(x, y)
    np.testing.assert_array_equal(estimator.predict_proba(x), once.predict_proba(x))
    estimator.set_params(callbacks=None).partial_fit(x, y)
    twice = estimator_of("three classes", max_iter=2).fit(x, y)
    np.testing.assert_array_equal(estimator.predict_proba(x), twice.predict_proba(x))


def test_images_are_inputs():
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(40, 6, 5, 1), dtype=np.uint8)
    y = np.where(images[:, :3].mean(axis=(1, 2, 3)) > images[:, 3:].mean(axis=(1, 2, 3)), "top", "bottom")
    layers = [Rescale(1 / 255), Flatten(), Dense(16), ReLU()]
    estimator = NetworkClassifier(layers, optimizer=Adam(0.02), random_state=0).fit(images, y)
    assert estimator.score(images, y) > 0.95
    assert estimator.model_.input_shape == (6, 5, 1)
    assert estimator.n_features_in_ == 6
    assert estimator.predict_proba(images).dtype == np.float32


def test_a_function_that_builds_the_same_layers_twice_is_refused():
    x, y = problem()
    model = Sequential([Dense(4), ReLU()])
    estimator = NetworkClassifier(build_model=lambda: model, max_iter=1).fit(x, y)
    with pytest.raises(ArgumentError, match="build_model returned the layers of an earlier call again"):
        NetworkClassifier(build_model=lambda: model, max_iter=1).fit(x, y)
    estimator.predict(x)


@pytest.mark.parametrize("outputs", [1, 5])
def test_a_network_of_another_number_of_classes_is_refused(outputs):
    with pytest.raises(ArgumentError, match="output is .*, but y has 3 classes: end it with Dense"):
        loss = SigmoidCrossEntropy() if outputs == 1 else SoftmaxCrossEntropy()
        NetworkClassifier([Dense(outputs), loss]).fit(np.eye(6), np.arange(6) % 3)


def test_a_classifier_refuses_a_loss_of_numbers():
    with pytest.raises(ArgumentError, match="a classifier needs a loss for classes, not MeanSquaredError"):
        NetworkClassifier(loss=MeanSquaredError()).fit(np.eye(6), np.arange(6) % 2)


def test_weights_of_classes_below_zero_are_refused_by_their_own_name():
    with pytest.raises(ArgumentError, match="class_weight is .*; weights are 0 or more"):
        NetworkClassifier(class_weight={0: 1, 1: -1}).fit(np.eye(6), np.arange(6) % 2)


def test_partial_fit_after_an_interruption_takes_all_rows():
    x, y = problem()

    class Stop(Callback):
        def on_batch_end(self, trainer):
            raise KeyboardInterrupt

    estimator = NetworkClassifier([Dense(4)], batch_size=len(x) // 4, callbacks=[Stop()], random_state=0)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(x, y)
    estimator.callbacks, before = None, estimator.trainer_.step
    assert estimator.partial_fit(x, y).trainer_.step == before + 4


def test_augment_gets_arrays_also_of_a_sparse_matrix_that_is_one_batch():
    shapes = []

    def augment(inputs, rng):
        shapes.append(inputs.shape)
        return inputs.copy()

    x = scipy.sparse.eye_array(6).tocsr()
    NetworkClassifier(augment=augment, batch_size=None, max_iter=1).fit(x, np.arange(6) % 2)
    assert shapes[-1] == (6, 6)
