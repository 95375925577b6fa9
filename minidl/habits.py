"""Words from other libraries, and what to write here instead. Errors end with these texts."""

from __future__ import annotations

from typing import Any

TOO_MANY = "too many positional arguments"
"""Python's message for a class that gets more positional values than it takes."""

_NO_SHAPE = "the input shape comes from the data, or from Sequential(layers, input_shape=...)"
_DRAWS_A_BAR = "fit draws a bar; fit(progress=False) draws none"
_PRINTS_NOTHING = "leave it out: it prints nothing"
_IS_TRAINED_BY = "train it with trainer = Trainer(model, Adam()); trainer.fit(x, y, epochs=10)"
_TAKES_A_LIST = "give Sequential all layers in one list, the loss last"
_SAVES = "use model.save(path) and Sequential.load(path), for architecture and parameters"
_ARRAYS = "model.parameters is one vector; you can assign to it. model.named_parameters() has the arrays by name"
_LOSS = "the loss is the last element of the model: Sequential([Dense(10), SoftmaxCrossEntropy()])"
_HELD_OUT = "validation_data=(x, y); minidl.data.train_validation_split splits the rows"
_OF_TRAINER = "give it to the trainer: Trainer(model, batch_size=..., shuffle=..., metrics=...)"
_WHOLE_DATA = "leave it out: each epoch and each validation uses every row once"

_RECURRENT = {
    **dict.fromkeys(["use_bias", "bias"], "leave it out: recurrent layers always have a bias"),
    **dict.fromkeys(
        ["recurrent_regularizer", "recurrent_constraint"], "regularizer= and constraint= act on both weights"
    ),
    "recurrent_activation": "leave it out: gates are sigmoids",
    "input_size": _NO_SHAPE,
    **dict.fromkeys(["unroll", "implementation", "use_cudnn"], "leave it out: it changes no result"),
    "time_major": "leave it out: the batch is the first axis, time the second",
}
_TANH = {"activation": 'it is always tanh; only SimpleRNN also takes "relu"'}

FIXES: dict[str, dict[str, str]] = {
    "Configurable": {
        **dict.fromkeys(["lr", "learning_rate"], "set the learning_rate of the optimizer"),
        **dict.fromkeys(["trainable", "requires_grad", "frozen"], "set the trainable of a layer or model"),
        **{name: f"set the {name} of a layer that has one, such as Dense" for name in ("regularizer", "constraint")},
        **{name: f"set the {name} of the trainer" for name in ("clip_norm", "clip_value")},
    },
    "SimpleRNN": {**_RECURRENT, "nonlinearity": "use activation="},
    "GRU": {**_RECURRENT, **_TANH, "reset_after": "leave it out: it is always as with reset_after=True"},
    "LSTM": {**_RECURRENT, **_TANH, "unit_forget_bias": "leave it out: the bias of the forget gate starts at 1"},
    "Bidirectional": {"backward_layer": "leave it out: the second layer is made like the first"},
    "Layer": {
        "activation": "an activation is a separate layer: Dense(64), ReLU()",
        **dict.fromkeys(["input_shape", "input_dim", "in_features", "batch_input_shape", "num_features"], _NO_SHAPE),
        "kernel_initializer": "use initializer=, in a layer that has it; biases start at 0",
        "bias_initializer": "biases start at 0",
        "kernel_regularizer": "use regularizer=, as in Dense(64, regularizer=L2(1e-4))",
        "kernel_constraint": "use constraint=, as in Dense(64, constraint=MaxNorm(3))",
        **dict.fromkeys(["bias_regularizer", "activity_regularizer"], "regularizer= applies to weights only"),
        "bias": "Dense(64, use_bias=False) has no bias; the array exists when the input shape is known",
        **dict.fromkeys(["weight", "kernel"], "layer.weight exists when the input shape is known"),
        **dict.fromkeys(["weights", "get_weights", "set_weights"], "read and assign the arrays of named_parameters()"),
        "count_params": "use count_parameters()",
        "hidden_size": "use units=, the size of the state",
        "num_layers": "give several layers, with return_sequences=True in all except the last",
        "bidirectional": "use another layer around it: Bidirectional(LSTM(64))",
        "batch_first": "leave it out: the batch is the first axis, time the second",
        **dict.fromkeys(["dropout", "recurrent_dropout"], "put Dropout(0.2) between the layers"),
        **dict.fromkeys(["return_state", "stateful"], "layer.continued(x, memory) keeps the state in memory, a dict"),
        "merge_mode": 'use merge=: "concatenate", "sum" or "mean"',
        **dict.fromkeys(["device", "to", "cuda", "cpu"], "leave it out: minidl always computes on the CPU"),
    },
    "Dense": {
        **dict.fromkeys(["out_features", "output_dim"], "it is the first value: Dense(64)"),
        TOO_MANY: "Give only the outputs, Dense(64): the inputs come from the data",
    },
    "Embedding": {
        **dict.fromkeys(["input_dim", "num_embeddings"], "it is the first value, vocabulary_size"),
        **dict.fromkeys(["output_dim", "embedding_dim"], "it is the second value, units"),
        **dict.fromkeys(["mask_zero", "padding_idx"], "it is padding_id=, as in Embedding(1000, 64, padding_id=0)"),
        "input_length": _NO_SHAPE,
        "embeddings_initializer": "it is initializer=",
    },
    "Masking": {"mask_value": "it is the first value, padding_value"},
    "MultiHeadAttention": {
        **dict.fromkeys(["num_heads", "nhead"], "it is the first value, heads"),
        **dict.fromkeys(["embed_dim", "key_dim", "value_dim", "d_model"], "leave it out: the input tells the features"),
        "use_causal_mask": "it is causal=",
    },
    "Dropout": dict.fromkeys(["p", "prob"], "it is the first value: Dropout(0.5)"),
    "BatchNorm": dict.fromkeys(
        ["axis", "affine", "center", "scale"], "leave it out: the last axis is normalized, scaled and shifted"
    ),
    "LayerNorm": dict.fromkeys(
        ["axis", "normalized_shape", "center", "scale"], "leave it out: each sample is normalized"
    ),
    "ReLU": {
        **dict.fromkeys(["negative_slope", "alpha"], "LeakyReLU(0.01) has a slope for negative numbers"),
        "inplace": "leave it out",
        TOO_MANY: "LeakyReLU(0.01) has a slope for negative numbers",
    },
    "LeakyReLU": {"alpha": "it is the first value: LeakyReLU(0.01)"},
    "Flatten": {TOO_MANY: "Write Flatten(): it joins all axes except the batch"},
    "Residual": {TOO_MANY: "Give the layers in one list: Residual([Dense(8), ReLU()])"},
    "Concatenate": {TOO_MANY: "Give the branches in one list: Concatenate([Dense(8), [Dense(4), ReLU()]])"},
    "Softmax": dict.fromkeys(["axis", "dim", TOO_MANY], "Softmax() acts on the last axis"),
    "Loss": {
        "from_logits": "leave it out: the loss takes scores, without a Softmax or Sigmoid before it",
        "reduction": "leave it out: losses are means over rows",
        **dict.fromkeys(["weight", "pos_weight", "class_weight"], "give fit class_weight= or sample_weight="),
    },
    "Optimizer": {
        **dict.fromkeys(["params", "parameters", "model"], "leave it out: Trainer(model, Adam()) connects them"),
        "momentum": "use Momentum(0.01, momentum=0.9)",
        "nesterov": "use Momentum(0.01, nesterov=True)",
        "amsgrad": "use AMSGrad()",
        **dict.fromkeys(["rho", "alpha"], "use decay="),
        **dict.fromkeys(["clipnorm", "global_clipnorm"], "give Trainer(model, clip_norm=1.0)"),
        "clipvalue": "give Trainer(model, clip_value=1.0)",
        **dict.fromkeys(["use_ema", "ema_momentum"], "give Trainer(model, average=ExponentialMovingAverage(0.999))"),
        "zero_grad": "leave it out: backward overwrites the gradients",
    },
    "Schedule": {
        **dict.fromkeys(["initial_learning_rate", "max_lr", "learning_rate"], "it is the first value, rate"),
        **dict.fromkeys(["decay_steps", "total_steps", "T_max"], "use steps="),
        **dict.fromkeys(["decay_rate", "gamma"], "use factor="),
        "step_size": "use every=",
    },
    "Sequential": {
        **dict.fromkeys(["fit", "train_on_batch", "fit_generator", "partial_fit"], _IS_TRAINED_BY),
        "compile": "Trainer(model, Adam(), metrics=...) takes the optimizer; the loss is the model's last element",
        **dict.fromkeys(
            ["evaluate", "score", "test_on_batch"], "Trainer(model).evaluate(x, y) returns loss and metrics"
        ),
        **dict.fromkeys(["add", "append", "add_module"], _TAKES_A_LIST),
        "pop": "make another model from some of its layers: Sequential(model.layers[:-1])",
        "predict_classes": "model.predict(x) returns labels",
        "predict_on_batch": "use predict(x)",
        "predict_log_proba": "take numpy.log of predict_proba(x)",
        "decision_function": "model.forward(x) returns the scores",
        **dict.fromkeys(["train", "eval"], "leave it out: only Trainer.fit trains; else a model is in evaluation mode"),
        **dict.fromkeys(["to_json", "save_weights", "load_weights", "state_dict", "load_state_dict"], _SAVES),
        **dict.fromkeys(["weights", "get_weights", "set_weights", "trainable_weights", "trainable_variables"], _ARRAYS),
        "get_layer": 'model["dense_1"] is the layer with this name, and model[-1] is the last layer',
        **dict.fromkeys(
            ["optimizer", "history", "metrics_names"], "the trainer has it: trainer = Trainer(model, Adam())"
        ),
        "zero_grad": "leave it out: backward overwrites the gradients",
    },
    "Sequential.predict": dict.fromkeys(
        ["verbose", "steps", "callbacks", "workers", "use_multiprocessing"], _PRINTS_NOTHING
    ),
    "Trainer": {
        **dict.fromkeys(
            ["predict", "predict_proba", "predict_classes"], "the model predicts: trainer.model.predict(x)"
        ),
        "score": "trainer.evaluate(x, y) returns loss and metrics",
        "compile": "leave it out: Trainer(model, Adam(), metrics=...) takes these settings",
        "loss": _LOSS,
        **dict.fromkeys(
            ["train", "train_on_batch", "fit_generator", "partial_fit"],
            "trainer.fit(x, y, epochs=10) trains, and continues if you call it again",
        ),
        **dict.fromkeys(
            ["epochs", "max_epochs", "n_epochs", "max_iter"], "give it to fit: trainer.fit(x, y, epochs=10)"
        ),
        **dict.fromkeys(
            ["callbacks", "validation_data", "class_weight", "sample_weight"],
            "give it to fit: trainer.fit(x, y, callbacks=[...])",
        ),
        **dict.fromkeys(["validation_split", "validation_fraction"], f"give fit {_HELD_OUT}"),
        **dict.fromkeys(["verbose", "progress"], _DRAWS_A_BAR),
        "early_stopping": "give fit callbacks=[EarlyStopping()]",
        **dict.fromkeys(
            ["save_weights", "load_weights", "save_model", "load_model"], "trainer.model.save(path) saves the model"
        ),
        **dict.fromkeys(
            ["device", "to", "workers", "n_jobs"], "minidl always computes on the CPU; threads= sets the threads"
        ),
        "best_model": "EarlyStopping restores it at the end of fit; after Ctrl-C call trainer.restore_best()",
    },
    "Trainer.fit": {
        "verbose": "progress=False draws no bar",
        **dict.fromkeys(["batch_size", "shuffle", "metrics"], _OF_TRAINER),
        **dict.fromkeys(["validation_split", "validation_fraction", "eval_set"], f"give {_HELD_OUT}"),
        **dict.fromkeys(
            ["steps_per_epoch", "validation_steps", "validation_batch_size", "validation_freq"], _WHOLE_DATA
        ),
        "initial_epoch": "leave it out: if you call fit again, it continues from trainer.epoch",
        **dict.fromkeys(
            ["workers", "use_multiprocessing", "max_queue_size"],
            "leave it out: Trainer(model, threads=...) sets threads",
        ),
        "early_stopping": "give callbacks=[EarlyStopping()]",
        **dict.fromkeys(["max_epochs", "n_epochs", "max_iter"], "use epochs="),
        "optimizer": "give it to the trainer: Trainer(model, Adam())",
        "loss": _LOSS,
    },
    "Trainer.evaluate": {
        **dict.fromkeys(["verbose", "steps", "callbacks", "workers"], _PRINTS_NOTHING),
        "batch_size": "leave it out: the model chooses how many rows it computes at once",
        "return_dict": "leave it out: it always returns a dict",
        "metrics": _OF_TRAINER,
    },
    "pad_sequences": {
        "maxlen": "use length=, the second value",
        **dict.fromkeys(["value", "padding_value"], "use padding=, the value of the padding"),
        "truncating": "leave it out: long sequences are cut at the end",
        "padding_side": "leave it out: the padding is always on the right",
        "dtype": "leave it out: the result has a type that holds all sequences and the padding",
        "batch_first": "leave it out: the batch is the first axis, time the second",
    },
    "Callback": {"verbose": _DRAWS_A_BAR},
    "Monitor": {
        "restore_best_weights": "use restore_best=, which is True by default",
        "start_from_epoch": "leave it out, or give a larger patience",
        "baseline": "leave it out: a callback function can call trainer.stop()",
        **dict.fromkeys(["min_lr", "eps"], "use min_rate="),
        **dict.fromkeys(["threshold", "epsilon", "tol"], "use min_delta="),
        "n_iter_no_change": "use patience=",
    },
    "Checkpoint": {
        **dict.fromkeys(
            ["filepath", "filename", "dirname", "dirpath", "path"],
            "use folder=, the first value, for several files",
        ),
        "save_best_only": "monitor='val_loss' saves the best epoch as best.npz in the folder",
        "save_weights_only": "leave it out: a file holds the whole run; Trainer.load(file).model is its model",
        **dict.fromkeys(["save_freq", "period"], "give every_epochs= or every_steps="),
        **dict.fromkeys(["save_top_k", "max_to_keep"], "use keep="),
        "save": "trainer.save(path) saves a run",
    },
    "CSVLogger": {
        "filename": "use path=, the first value",
        "append": "leave it out: a resumed run continues the file",
    },
    "TensorBoard": dict.fromkeys(["log_dir", "logdir"], "use folder=, the first value"),
}
"""For each class or function: a word and what to do. The words of a class also apply to its subclasses."""


def find_fix(word: str, place: Any) -> str:
    """Return what to write instead of a word that a class or function does not have, or ""."""
    names = [kind.__name__ for kind in getattr(place, "__mro__", ())] or [place.__qualname__, "Configurable"]
    return next((FIXES[name][word] for name in names if word in FIXES.get(name, ())), "")
