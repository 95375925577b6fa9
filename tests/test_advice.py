"""What users of Keras, PyTorch and scikit-learn write by habit is answered with what to write here."""

import copy
import pickle

import numpy as np
import pytest

import minidl
from minidl import (
    GRU,
    LSTM,
    Adam,
    Bidirectional,
    Checkpoint,
    Conv1D,
    Dense,
    EarlyStopping,
    Flatten,
    Layer,
    ReduceLROnPlateau,
    ReLU,
    Residual,
    Sequential,
    SimpleRNN,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
)
from minidl.advice import advise, refuse
from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.habits import FIXES

x, y = np.random.default_rng(0).normal(size=(8, 3)), np.arange(8) % 2


def new_model():
    return Sequential([Dense(2), SoftmaxCrossEntropy()], input_shape=3, seed=0)


def new_trainer():
    return Trainer(new_model(), seed=0)


@pytest.mark.parametrize(
    ("attempt", "error", "message"),
    [
        (lambda: new_model().fit(x, y), AttributeError, "Sequential has no 'fit': train it with trainer = Trainer"),
        (lambda: new_model().compile("adam"), AttributeError, "has no 'compile': Trainer\\(model, Adam"),
        (lambda: new_model().evaluate(x, y), AttributeError, "has no 'evaluate': Trainer\\(model\\).evaluate"),
        (lambda: new_model().score(x, y), AttributeError, "has no 'score': Trainer\\(model\\).evaluate"),
        (lambda: new_model().add(Dense(3)), AttributeError, "has no 'add': give Sequential all layers in one list"),
        (lambda: new_model().pop(), AttributeError, "has no 'pop': .*model.layers"),
        (lambda: new_model().predict_classes(x), AttributeError, "has no 'predict_classes': model.predict"),
        (lambda: new_model().state_dict(), AttributeError, "has no 'state_dict': use model.save"),
        (lambda: new_model().predict(x, verbose=0), ArgumentTypeError, "Sequential.predict .*'verbose'; leave it out"),
        (lambda: new_trainer().predict(x), AttributeError, "Trainer has no 'predict': .*trainer.model.predict"),
        (lambda: new_trainer().compile(), AttributeError, "Trainer has no 'compile': leave it out"),
        (lambda: new_trainer().fit(x, y, verbose=0), ArgumentTypeError, "Trainer.fit .*'verbose'; progress=False"),
        (lambda: new_trainer().fit(x, y, batch_size=4), ArgumentTypeError, "'batch_size'; give it to the trainer"),
        (lambda: new_trainer().fit(x, y, shuffle=True), ArgumentTypeError, "'shuffle'; give it to the trainer"),
        (lambda: new_trainer().fit(x, y, validation_split=0.1), ArgumentTypeError, "give validation_data=.*split"),
        (lambda: new_trainer().fit(x, y, epoch=2), ArgumentTypeError, "'epoch'; did you mean 'epochs'"),
        (lambda: new_trainer().fit(x, y, colour=2), ArgumentTypeError, "'colour'; there are x, y, epochs, .*progress$"),
        (lambda: new_trainer().fit(x, y, lr=0.1), ArgumentTypeError, "'lr'; set the learning_rate of the optimizer"),
        (lambda: new_trainer().evaluate(x, y, verbose=0), ArgumentTypeError, "Trainer.evaluate .*'verbose'; leave it"),
        (lambda: Trainer(new_model(), validation_split=0.1), ArgumentTypeError, "'validation_split'; give fit valid"),
        (lambda: Trainer(new_model(), loss="mse"), ArgumentTypeError, "'loss'; the loss is the last element"),
        (lambda: EarlyStopping(restore_best_weights=True), ArgumentTypeError, "use restore_best=, .* by default"),
        (lambda: EarlyStopping(verbose=1), ArgumentTypeError, "'verbose'; fit draws a bar"),
        (lambda: ReduceLROnPlateau(min_lr=1e-5), ArgumentTypeError, "'min_lr'; use min_rate="),
        (lambda: Checkpoint("runs", save_best_only=True), ArgumentTypeError, "'save_best_only'; monitor="),
        (lambda: Checkpoint(filepath="runs"), ArgumentTypeError, "'filepath'; use folder="),
        (lambda: Dense(8, activation="relu"), ArgumentTypeError, "'activation'; an activation is a separate layer"),
        (lambda: Dense(8, input_shape=(3,)), ArgumentTypeError, "'input_shape'; .*Sequential\\(layers, input_shape="),
        (lambda: Dense(8, kernel_initializer="zeros"), ArgumentTypeError, "'kernel_initializer'; use initializer="),
        (lambda: Dense(in_features=3, out_features=8), ArgumentTypeError, "'in_features'; the input shape comes"),
        (lambda: Dense(3, 8), ArgumentTypeError, "it is Dense\\(units, .*\\. Give only the outputs, Dense\\(64\\)"),
        (lambda: ReLU(0.1), ArgumentTypeError, "it is ReLU\\(.*\\. LeakyReLU\\(0.01\\) has a slope"),
        (lambda: Flatten(1), ArgumentTypeError, "it is Flatten\\(.*\\. Write Flatten\\(\\)"),
        (lambda: Residual(Dense(3), ReLU()), ArgumentTypeError, "Give the layers in one list: Residual\\(\\["),
        (lambda: Sequential(Dense(8), ReLU()), ArgumentTypeError, "takes a list of layers, \\[Dense\\(8\\), ReLU"),
        (lambda: Sequential(Dense(8)), ArgumentTypeError, "takes a list of layers, \\[Dense\\(8\\), ReLU"),
        (lambda: Sequential([Dense(8)], ReLU()), ArgumentTypeError, "takes a list of layers, \\[Dense\\(8\\), ReLU"),
        (Sequential, ArgumentError, "at least one layer: give them in one list"),
        (lambda: GRU(8, dropout=0.2), ArgumentTypeError, "'dropout'; put Dropout\\(0.2\\) between the layers"),
        (lambda: LSTM(8, recurrent_dropout=0.2), ArgumentTypeError, "'recurrent_dropout'; put Dropout"),
        (lambda: SimpleRNN(8, use_bias=False), ArgumentTypeError, "'use_bias'; .* recurrent layers always have a bias"),
        (lambda: GRU(8, reset_after=True), ArgumentTypeError, "'reset_after'; leave it out: it is always as with"),
        (lambda: LSTM(8, recurrent_regularizer="l2"), ArgumentTypeError, "regularizer= and constraint= act on both"),
        (lambda: Bidirectional(GRU(8), merge_mode="sum"), ArgumentTypeError, '; use merge=: "concatenate", "sum" or'),
        (lambda: Bidirectional(GRU(8), merge="concat"), ArgumentError, "merge is 'concat'; here it is 'concatenate'"),
        (lambda: Bidirectional(GRU(8), merge="ave"), ArgumentError, "merge is 'ave'; here it is 'mean'"),
        (lambda: Conv1D(8, 3, padding="full"), ArgumentError, 'must be "valid", "same", "causal", a number, or'),
        (lambda: Adam(lr=0.1), ArgumentTypeError, "'lr'; set the learning_rate of the optimizer"),
    ],
)
def test_a_habit_of_another_library_is_answered_with_what_to_write_here(attempt, error, message):
    with pytest.raises(error, match=message) as found:
        attempt()
    assert len(str(found.value)) <= 300


def test_all_answers_fit_into_an_error():
    assert max(len(fix) for fixes in FIXES.values() for fix in fixes.values()) < 120


def test_a_model_that_is_called_predicts():
    for model in (new_model(), Sequential([Dense(2), Tanh()], input_shape=3, seed=0)):
        np.testing.assert_array_equal(model(x), model.predict(x))
    assert new_model()(x.tolist()).shape == (8,)


def test_a_missing_attribute_is_missing_for_all_who_ask():
    model = new_model()
    assert not hasattr(model, "fit")
    assert getattr(model, "fit", "absent") == "absent"
    assert "fit" not in dir(model)
    assert {"predict", "layers", "parameters"} <= set(dir(model))
    with pytest.raises(AttributeError) as found:
        model.fit  # noqa: B018
    assert (found.value.name, found.value.obj) == ("fit", model)
    with pytest.raises(AttributeError, match="^'Sequential' object has no attribute 'nothing'$") as found:
        model.nothing  # noqa: B018
    assert found.value.name == "nothing"


def test_an_object_without_attributes_yet_can_be_copied_and_pickled():
    for part in (new_model(), new_trainer(), Adam(), EarlyStopping()):
        assert repr(copy.deepcopy(part)) == repr(copy.copy(part)) == repr(pickle.loads(pickle.dumps(part)))
    with pytest.raises(AttributeError, match="'fit'"):
        Sequential.__new__(Sequential).fit  # noqa: B018


class Broken(Layer):
    """Has a property that fails, and one of a name that other libraries know."""

    @property
    def size(self):
        return self.heigth

    @property
    def score(self):
        return 3


def test_an_error_within_a_property_is_told_as_it_is():
    with pytest.raises(AttributeError, match="has no attribute 'heigth'"):
        Broken().size  # noqa: B018
    assert Broken().score == 3


def test_what_functions_have_is_told_without_self_and_the_rest():
    def work(self, rows, columns=1, **unknown):
        refuse(unknown, work)
        return rows

    assert work(None, 3) == 3
    with pytest.raises(
        ArgumentTypeError, match=r"work has no argument 'columms'; did you mean 'columns'\? there are rows, columns$"
    ):
        work(None, 3, columms=2)


def test_advice_is_empty_or_comes_with_what_is_before_it():
    assert advise("lr", minidl.Adam, ". ") == ". set the learning_rate of the optimizer"
    assert advise("nothing", minidl.Adam, ". ") == ""
