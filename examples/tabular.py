"""Predict who survived the Titanic, and ticket prices, with networks inside scikit-learn's tools.

    python examples/tabular.py                         # half a minute
    python examples/tabular.py --folds 2 --epochs 5    # a few seconds, and worse predictions

A network is an estimator like any other. Here it follows a ColumnTransformer in a Pipeline. GridSearchCV tunes its
layers and its optimizer. It works with permutation_importance, CalibratedClassifierCV and TransformedTargetRegressor.
scikit-learn's own models train and predict on the same folds. With so few rows, the network and gradient boosting are
about equally good: their metrics differ less than the metrics of different folds.

The table has 1,309 passengers of the Titanic, with numbers, categories and names; a fifth of the ages is missing. It is
one of the test files in scikit-learn's wheel. The wheel also has the penguins of the Palmer Archipelago. But there are
only 344 of them, and a linear model gets at most four wrong: there is nothing to tune or to calibrate.

Two things would leak the answer. First, some columns were filled in later: the lifeboat, the number of the body, and,
more often for survivors, the cabin and the home. The program does not use these columns. Second, people on one ticket
paid one fare and often shared one fate, so they are all in the same fold. Metrics and plots go to the folder --output.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from example_options import Parser, output_folder, pictures_possible, run_program, whole_number
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    log_loss,
    mean_absolute_error,
    median_absolute_error,
    r2_score,
    recall_score,
    roc_auc_score,
)
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from minidl import Adam, Dense, Dropout, ReLU
from minidl.errors import MissingFileError
from minidl.estimators import NetworkClassifier, NetworkRegressor
from minidl.typing import Array

TABLE = "datasets/tests/data/openml/id_40945/data-v1-dl-16826755.arff.gz"
NUMBERS = ["age", "siblings, spouses", "parents, children", "people on ticket"]
CATEGORIES = ["class", "sex", "title", "port"]
COLOURS = "#0072B2", "#D55E00", "#009E73"
Folds = list[tuple[Array, Array]]
BALANCED, CALIBRATED = "network, balanced classes", "the same, calibrated"


def load_passengers() -> pd.DataFrame:
    """Return a row for each passenger, with the columns above, and "survived", "fare" and "ticket"."""
    try:
        text = gzip.decompress(files("sklearn").joinpath(TABLE).read_bytes()).decode()
    except OSError as error:
        raise MissingFileError(
            f"this scikit-learn was installed without the table of passengers, sklearn/{TABLE}: install the wheel from "
            "PyPI, pip install --force-reinstall scikit-learn"
        ) from error
    header, _, rows = text.partition("@data\n")
    columns = [line.split("'")[1] for line in header.splitlines() if line.startswith("@attribute")]
    passengers = pd.read_csv(io.StringIO(rows), names=columns, na_values="?")
    passengers["survived"] = passengers["survived"].map({0: "died", 1: "survived"})
    passengers["class"] = passengers["pclass"].map({1: "first", 2: "second", 3: "third"})
    passengers["port"] = passengers["embarked"].map({"C": "Cherbourg", "Q": "Queenstown", "S": "Southampton"})
    passengers["title"] = passengers["name"].str.extract(r", (.+?)\.", expand=False)  # "Allen, Miss. Elisabeth Walton"
    passengers["people on ticket"] = passengers.groupby("ticket")["ticket"].transform("size")
    passengers[CATEGORIES] = passengers[CATEGORIES].astype("category")
    return passengers.rename(columns={"sibsp": "siblings, spouses", "parch": "parents, children"})


def preparation(numbers: list[str]) -> ColumnTransformer:
    """Return a transformer from frames to numbers: it fills in and marks missing numbers, and merges rare titles."""
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numbers),
            ("categories", OneHotEncoder(min_frequency=10, handle_unknown="infrequent_if_exist"), CATEGORIES),
        ]
    )


def classifiers(epochs: int) -> dict[str, GridSearchCV]:
    """Return a search for each model; the network's search includes settings of its layers and its optimizer."""
    search = partial(GridSearchCV, scoring="neg_log_loss", cv=StratifiedGroupKFold(3))
    prepare = preparation([*NUMBERS, "fare"])
    network = NetworkClassifier(
        [Dense(32), ReLU(), Dropout(0.3)],  # the labels determine the output layer and the loss
        optimizer=Adam(),
        batch_size=64,
        max_iter=epochs,
        random_state=0,
    )
    boosting = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
    return {
        "logistic regression": search(
            Pipeline([("prepare", prepare), ("model", LogisticRegression(max_iter=1000))]),
            {"model__C": [0.03, 0.3, 3]},
        ),
        "gradient boosting": search(boosting, {"learning_rate": [0.03, 0.1], "max_leaf_nodes": [4, 16]}),
        "network": search(
            Pipeline([("prepare", prepare), ("network", network)]),
            {
                "network__layers__0__units": [16, 64],
                "network__layers__2__rate": [0.2, 0.5],
                "network__optimizer__learning_rate": [0.001, 0.003],
            },
        ),
    }


def regressors(epochs: int) -> dict[str, Any]:
    """Return models that predict the fare. Most learn its logarithm, because fares differ by factors.

    There is no search here: the other models have default settings. For the network, a few settings were tried on these
    folds, so its results are a little too good.
    """
    logarithm = partial(TransformedTargetRegressor, func=np.log, inverse_func=np.exp)
    prepare = preparation(NUMBERS)
    network = NetworkRegressor(
        [Dense(32), ReLU(), Dropout(0.2)],
        optimizer=Adam(0.003),
        max_iter=epochs,
        standardize=True,  # also the target: pounds would need large weights
        random_state=0,
    )
    return {
        "ridge": logarithm(make_pipeline(prepare, Ridge())),
        "gradient boosting": logarithm(
            HistGradientBoostingRegressor(categorical_features="from_dtype", random_state=0)
        ),
        "network": logarithm(make_pipeline(prepare, network)),
        "network, no logarithm": make_pipeline(prepare, network),
    }


def predict_survival(passengers: pd.DataFrame, folds: Folds, epochs: int) -> tuple[dict[str, Array], pd.DataFrame]:
    """Search, calibrate and explain in each fold; return probabilities of survival, and the importance of columns."""
    x, y, tickets = passengers[[*NUMBERS, "fare", *CATEGORIES]], passengers["survived"], passengers["ticket"]
    searches = classifiers(epochs)
    probabilities = {name: np.empty(len(y)) for name in [*searches, BALANCED, CALIBRATED]}
    importance = []
    for train, held_out in folds:
        x_train, y_train, tickets_train = x.iloc[train], y.iloc[train], tickets.iloc[train]
        for search in searches.values():
            search.fit(x_train, y_train, groups=tickets_train)
        best, settings = searches["network"].best_estimator_, searches["network"].best_params_
        chosen = ", ".join(f"{name.split('__')[-1]} {value}" for name, value in settings.items())
        print(f"fold {len(importance) + 1}: the search chose {chosen}", flush=True)

        # With equal class weights the network finds more of the survivors, but its probabilities are too high.
        balanced = clone(best).set_params(network__class_weight="balanced").fit(x_train, y_train)
        inner = list(StratifiedGroupKFold(3).split(x_train, y_train, tickets_train))
        calibrated = CalibratedClassifierCV(balanced, cv=inner, ensemble=False).fit(x_train, y_train)
        for name, model in {**searches, BALANCED: balanced, CALIBRATED: calibrated}.items():
            probabilities[name][held_out] = model.predict_proba(x.iloc[held_out])[:, 1]  # of "survived"

        shuffled = permutation_importance(best, x.iloc[held_out], y.iloc[held_out], scoring="roc_auc", random_state=0)
        importance.append(shuffled.importances_mean)
    return probabilities, pd.DataFrame(importance, columns=x.columns)


def predict_fares(priced: pd.DataFrame, folds: Folds, epochs: int) -> dict[str, Array]:
    """Return each model's predictions, in pounds."""
    x, y = priced[[*NUMBERS, *CATEGORIES]], priced["fare"]
    return {name: cross_val_predict(model, x, y, cv=folds) for name, model in regressors(epochs).items()}


def classification_metrics(y: pd.Series, probabilities: Array) -> dict[str, float]:
    survived, predicted = y == "survived", probabilities > 0.5
    return {
        "accuracy": accuracy_score(survived, predicted),
        "survivors found": recall_score(survived, predicted),
        "ROC AUC": roc_auc_score(survived, probabilities),
        "log loss": log_loss(survived, probabilities),
        "Brier score": brier_score_loss(survived, probabilities),
    }


def regression_metrics(y: pd.Series, fares: Array) -> dict[str, float]:
    return {
        "mean error": mean_absolute_error(y, fares),
        "median error": median_absolute_error(y, fares),
        "R^2": r2_score(y, fares),
    }


def evaluate(metrics: Callable[..., Any], y: pd.Series, predictions: dict[str, Array], folds: Folds) -> dict[str, Any]:
    """Return each model's metrics in each fold."""
    return {
        name: [metrics(y.iloc[held_out], predicted[held_out]) for _, held_out in folds]
        for name, predicted in predictions.items()
    }


def table(results: dict[str, Any], digits: int) -> str:
    """Format means and standard deviations over the folds; metrics beyond 80 characters follow below."""
    frames = {name: pd.DataFrame(folds) for name, folds in results.items()}
    means, deviations = (
        pd.DataFrame({name: summary(frame) for name, frame in frames.items()}).T.map(f"{{:.{digits}f}}".format)
        for summary in (pd.DataFrame.mean, pd.DataFrame.std)
    )
    text = (means + " +- " + deviations).to_string(col_space=16, line_width=80)
    return "\n".join(line.rstrip() for line in text.splitlines())


def draw_survival(folder: Path, y: pd.Series, probabilities: dict[str, Array], importance: pd.DataFrame) -> None:
    import matplotlib.pyplot as plt
    from sklearn.calibration import CalibrationDisplay
    from sklearn.metrics import RocCurveDisplay

    from minidl.plots import plot_confusion_matrix

    survived, network = y == "survived", probabilities["network"]
    figure, ((roc, confusion), (columns, calibration)) = plt.subplots(2, 2, figsize=(11, 10), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.12, w_pad=0.12)
    for ax in (roc, calibration):
        ax.set_prop_cycle(color=COLOURS)
        ax.grid(alpha=0.3)
    for name in ("network", "gradient boosting", "logistic regression"):
        RocCurveDisplay.from_predictions(survived, probabilities[name], name=name, ax=roc)
    roc.set(xlabel="share of the dead predicted as survivors", ylabel="share of the survivors predicted as survivors")
    roc.set_title("ROC curves")

    plot_confusion_matrix(y, np.where(network > 0.5, "survived", "died"), ax=confusion)
    confusion.set_title(f"network: {confusion.get_title()}")

    importance = importance[importance.mean().sort_values().index]
    columns.barh(
        importance.columns, importance.mean(), xerr=importance.std(), color=COLOURS[0], ecolor="0.4", capsize=3
    )
    columns.axvline(0, color="0.5", linewidth=1)
    columns.set(xlabel="drop in ROC AUC when a column is shuffled")
    columns.set_title("network: permutation importance")

    for name in (BALANCED, CALIBRATED):
        CalibrationDisplay.from_predictions(
            survived, probabilities[name], n_bins=8, strategy="quantile", name=name, ax=calibration
        )
    calibration.set(xlabel="predicted probability of survival", ylabel="share that survived", aspect="equal")
    calibration.set_title("calibration, by eighths of the passengers")
    figure.suptitle(f"{len(y):,} passengers of the Titanic, predicted by models that were trained without them")
    figure.savefig(folder / "survival.png")
    plt.close(figure)


def draw_fares(folder: Path, fares: pd.Series, predictions: dict[str, Array]) -> None:
    import matplotlib.pyplot as plt

    ticks = [3, 10, 30, 100, 300]
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.8), sharex=True, sharey=True, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.12)
    for ax, name in zip(axes, ("network", "gradient boosting", "ridge"), strict=True):
        ax.axline((10, 10), (100, 100), color="0.5", linewidth=1, zorder=1)
        ax.scatter(predictions[name], fares, s=14, alpha=0.4, color=COLOURS[0], edgecolors="none")
        ax.set(xscale="log", yscale="log", aspect="equal", xlabel="predicted fare (pounds)")
        ax.set(xlim=(2.5, 700), ylim=(2.5, 700), xticks=ticks, xticklabels=ticks, yticks=ticks, yticklabels=ticks)
        ax.set_title(f"{name}: mean error {mean_absolute_error(fares, predictions[name]):.1f} pounds")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("true fare (pounds)")
    figure.suptitle(f"Tickets of {len(fares):,} passengers, predicted by models that were trained without them")
    figure.savefig(folder / "fares.png")
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument(
        "--folds", type=int, choices=range(2, 11), default=5, metavar="2..10", help="(default: %(default)s)"
    )
    parser.add_argument("--epochs", type=whole_number(1), default=40, help="(default: %(default)s)")
    parser.add_argument(
        "--output", type=output_folder, default=Path("runs/tabular"), metavar="DIR", help="(default: %(default)s)"
    )
    options = parser.parse_args(arguments)

    passengers = load_passengers()
    survived, tickets = passengers["survived"], passengers["ticket"]
    print(
        f"scikit-learn's table of the Titanic: {len(passengers):,} passengers on {tickets.nunique()} tickets, of whom "
        f"{(survived == 'died').mean():.1%} died\n"
    )
    folds = list(StratifiedGroupKFold(options.folds, shuffle=True, random_state=0).split(passengers, survived, tickets))
    priced = passengers[passengers["fare"] > 0]
    fare_folds = list(GroupKFold(options.folds).split(priced, groups=priced["ticket"]))
    with threadpool_limits(1):  # with so few rows, threads wait longer than they work
        probabilities, importance = predict_survival(passengers, folds, options.epochs)
        fares = predict_fares(priced, fare_folds, options.epochs)
    results = evaluate(classification_metrics, survived, probabilities, folds)
    fare_metrics = evaluate(regression_metrics, priced["fare"], fares, fare_folds)
    print(f"\nsurvival, mean and standard deviation over the folds:\n\n{table(results, 3)}\n")
    print(f"fares of {len(priced):,} passengers, errors in pounds:\n\n{table(fare_metrics, 2)}\n")

    options.output.mkdir(parents=True, exist_ok=True)
    report = {"survival": results, "importance": importance.mean().to_dict(), "fares": fare_metrics}
    (options.output / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    pictures = pictures_possible()
    if pictures:
        draw_survival(options.output, survived, probabilities, importance)
        draw_fares(options.output, priced["fare"], fares)
    print(f"report.json{' and pictures' if pictures else ''}: {options.output}")


if __name__ == "__main__":
    run_program(main)
