"""The results of the recipes of `mnist_mlp.py`, `mnist_cnn.py` and `distillation.py`, and the effect of their parts.

    python benchmarks/recipes.py                                 # best and fast, 3 seeds each, and the ablation of best
    python benchmarks/recipes.py --figures wide --seeds 1        # ten minutes
    python benchmarks/recipes.py --figures conv conv-fast        # convolutions, half an hour
    python benchmarks/recipes.py --figures distilled             # three teachers and students, half an hour
    python benchmarks/recipes.py --ablation conv --epochs 4      # only an ablation, and a shorter one

The results come from the example's own command, on all training images, evaluated on the test images. An ablation
trains a recipe without one part at a time on 50,000 training images, and evaluates on the 10,000 others. --output keeps
the results; if the command was stopped, run it again to continue. ``--document docs`` updates the tables and pictures
of docs/recipes.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from reports import machine, mnist_folder, number, put_into_document

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

import cnn_recipes  # noqa: E402
import distillation  # noqa: E402
import mnist_recipes  # noqa: E402
from mnist_training import score  # noqa: E402
from recipe import Recipe  # noqa: E402

from minidl import Sequential, Trainer, search  # noqa: E402
from minidl.data import augment, load_mnist, train_validation_split  # noqa: E402
from minidl.errors import ArgumentError, MinidlError, counted  # noqa: E402
from minidl.prediction import Ensemble  # noqa: E402
from minidl.training import Search  # noqa: E402

RUNS: dict[str, tuple[str, list[str], Recipe]] = {
    **{name: ("mnist_mlp", ["--recipe", name], recipe) for name, recipe in mnist_recipes.RECIPES.items()},
    "conv": ("mnist_cnn", ["--recipe", "conv"], cnn_recipes.RECIPES["conv"]),
    "conv-fast": ("mnist_cnn", ["--recipe", "fast"], cnn_recipes.RECIPES["fast"]),
    "distilled": ("distillation", [], distillation.STUDENT),
}
"""The example that trains a recipe, its options, and the recipe."""

TABLES = {
    "best": "figures",
    "fast": "figures",
    "wide": "wide",
    "conv": "conv",
    "conv-fast": "conv",
    "distilled": "distilled",
}
"""The table of docs/recipes.md that a recipe is in."""

PICTURED = {"best", "wide", "conv", "distilled"}
"""The recipes whose mistakes docs/recipes.md shows."""

BEST, CONV = mnist_recipes.RECIPES["best"], cnn_recipes.RECIPES["conv"]
WHOLE = "nothing: the whole recipe"
CONSTANT_RATE = "one-cycle: a constant rate of 0.001"


def without(recipe: Recipe, kind: type[augment.Distortion]) -> Recipe:
    return replace(recipe, distortions=tuple(each for each in recipe.distortions if not isinstance(each, kind)))


def variants_of(recipe: Recipe) -> dict[str, Recipe]:
    """Return the complete recipe, and the recipe without each part that recipes may have."""
    return {
        WHOLE: recipe,
        "all distortions": replace(recipe, distortions=()),
        CONSTANT_RATE: replace(recipe, one_cycle=False, learning_rate=0.001),
        "elastic deformation": without(recipe, augment.Elastic),
    }


VARIANTS = {
    "best": {
        **variants_of(BEST),
        "batch normalization": replace(BEST, normalization=False),
        "rotation": without(BEST, augment.Rotation),
        "scaling": without(BEST, augment.Scaling),
        "translation": without(BEST, augment.Translation),
        "shear": without(BEST, augment.Shear),
    },
    "conv": {
        **variants_of(CONV),
        "batch normalization": replace(CONV, normalization=False),
        "dropout": replace(CONV, dropout=0.0),
        "the average of the weights": replace(CONV, average=None),
        "the second convolution of a stage": replace(CONV, stages=tuple(stage[:1] for stage in CONV.stages)),
    },
}


def is_complete(folder: Path) -> bool:
    """Whether an example has trained all its networks in a folder."""
    path = folder / "settings.json"
    return path.exists() and not json.loads(path.read_text(encoding="utf-8"))["left"]


def figures(names: list[str], seeds: int, data: Path | None, output: Path) -> str:
    """Run the example's command for each recipe and seed; return the table of its reports."""
    rows: list[tuple[str, dict[str, float], float]] = []
    compiled = True
    for name in names:
        example, arguments, recipe = RUNS[name]
        for seed in range(seeds):
            folder = output / f"{name}-{seed}"
            if not is_complete(folder):
                command = [sys.executable, EXAMPLES / f"{example}.py", *arguments, "--seed", str(seed)]
                command += ["--resume", "--output", folder, *(["--data", data] if data else [])]
                subprocess.run(command, check=True)
            networks = json.loads((folder / "report.json").read_text(encoding="utf-8"))
            report = networks[-1]  # of the student, after its teacher
            recipes = [distillation.TEACHER, recipe] if len(networks) > 1 else [recipe]
            wanted = [repr(each.with_epochs(None, report["train_rows"])) for each in recipes]
            if [each["settings"] for each in networks] != wanted:
                raise ArgumentError(
                    f"{folder} holds a run of another recipe {name}: delete it to measure the current one"
                )
            compiled &= report["compiled"]
            is_whole = not any(each["resumed_after_epochs"] for each in networks)
            seconds = sum(each["seconds"] for each in networks) if is_whole else np.nan
            rows.append((f"{name}, {report['network']}", report[report["evaluated_on"]], seconds))
            if averaged := report.get("averaged"):
                rows.append((f"  mean over {recipe.copies} shifted copies", averaged, seconds))
        if recipe.copies and seeds > 1:
            paths = [output / f"{name}-{seed}" / f"{report['network']}.npz" for seed in range(seeds)]
            rows.append((f"  ensemble of these {seeds}", evaluate_together(recipe, paths, data), np.nan))
    table = pd.DataFrame(
        {
            "recipe": label,
            "test accuracy": metrics["accuracy"] * 100,
            "test loss": metrics["loss"],
            "seconds": seconds,
        }
        for label, metrics, seconds in rows
    ).groupby("recipe", sort=False)
    width = max(26, *(len(recipe) for recipe, _ in table))
    lines = [f"{'':<{width}}{'seeds':>6}{'test accuracy in %':>20}{'least':>8}{'test loss':>11}{'seconds':>9}"]
    for label, runs in table:
        seconds = runs["seconds"].median()
        lines.append(
            f"{label:<{width}}{len(runs):>6}{spread(runs['test accuracy'], 2):>20}{runs['test accuracy'].min():>8.2f}"
            f"{runs['test loss'].mean():>11.4f}{'' if np.isnan(seconds) else f'{seconds:.1f}':>9}"
        )
    return "\n".join([machine(), "with compiled code" if compiled else "without compiled code", "", *lines])


def mistakes(folder: Path) -> Path:
    """Return the picture of the mistakes of a run's last network: a student comes after its teacher."""
    networks = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return folder / f"{networks[-1]['network']}_mistakes.png"


def evaluate_together(recipe: Recipe, paths: list[Path], data: Path | None) -> dict[str, float]:
    """Return the metrics of an ensemble on the test images."""
    ensemble = Ensemble([recipe.predictor(Sequential.load(path)) for path in paths])
    mnist = load_mnist(data, flatten=len(ensemble.input_shape) == 1)
    return score(ensemble.loss, ensemble.predict_scores(mnist.x_test), mnist.y_test)


def ablation(
    name: str, seeds: int, epochs: int, data: Path | None, output: Path, jobs: int
) -> tuple[str, list[Search]]:
    """Train the variants of a recipe with each seed; return the table, and the two searches behind it."""
    (example, _, whole), variants = RUNS[name], VARIANTS[name]
    mnist = load_mnist(data, flatten=example == "mnist_mlp")
    x, x_validation, y, y_validation = train_validation_split(mnist.x_train, mnist.y_train, 1 / 6, seed=0)

    short = max(epochs // 4, 1)
    fewer = f"{epochs - short} of {epochs} epochs"

    def build(taken_away: str, seed: int) -> Trainer:
        recipe = {**variants, fewer: whole}[taken_away]
        length = short if taken_away == fewer else epochs
        return replace(recipe, epochs=length).trainer(x.shape[1:], len(y), int(y.max()) + 1, seed)

    searches = [
        search(
            build,
            {"taken_away": names, "seed": list(range(1, seeds + 1))},
            x,
            y,
            validation_data=(x_validation, y_validation),
            epochs=length,
            monitor="val_accuracy",
            journal=output / f"ablation-{name}-{length}",
            jobs=jobs,
        )
        for names, length in ((list(variants), epochs), ([fewer], short))
    ]
    table = pd.concat([each.table for each in searches]).groupby("taken_away", sort=False)
    lines = [
        f"{'':<36}{'validation':>13}{'training':>15}",
        f"{'taken away':<36}{'accuracy':>13}{'accuracy':>15}{'validation loss':>16}",
    ]
    for taken_away in [*variants, fewer]:
        rows = table.get_group(taken_away)
        lines.append(
            f"{taken_away:<36}{spread(rows['val_accuracy'] * 100, 2):>13}{spread(rows['accuracy'] * 100, 2):>15}"
            f"{spread(rows['val_loss'], 4):>16}"
        )
    head = (
        f"{name} on {len(y):,} training images, evaluated on {len(y_validation):,} others, {epochs} epochs;\n"
        f"mean ± standard deviation over {counted(seeds, 'seed')}, accuracies in %;\n"
        f"training accuracy is measured on distorted images\n"
        f"{machine()}"
    )
    return "\n".join([head, "", *lines]), searches


def spread(values: pd.Series, digits: int) -> str:
    """Format the mean and, for several values, their standard deviation."""
    deviation = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{deviation}"


def draw_curves(name: str, found: Search, path: Path) -> None:
    """Draw the validation error of three variants over the epochs: means of the seeds."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for variant, label in (
        (WHOLE, name),
        (CONSTANT_RATE, "with a constant rate"),
        ("all distortions", "without distortions"),
    ):
        errors = [
            100 * (1 - np.array(run.history["val_accuracy"]))
            for run in found.runs
            if run.parameters["taken_away"] == variant
        ]
        axes.plot(range(1, len(errors[0]) + 1), np.mean(errors, axis=0), label=label)
    axes.set(xlabel="epoch", ylabel="validation error in %", yscale="log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "--figures",
        nargs="+",
        choices=RUNS,
        metavar="RECIPE",
        help=f"the results of these recipes: {', '.join(RUNS)}",
    )
    add("--ablation", nargs="?", const="best", choices=VARIANTS, metavar="RECIPE", help="the ablation of best, or conv")
    add("--seeds", type=number, default=3, help="(default: %(default)s)")
    add("--epochs", type=number, help="epochs of the ablation's runs (default: the recipe's)")
    add("--jobs", type=number, default=1, help="number of the ablation's runs at a time (default: %(default)s)")
    add("--data", type=Path, metavar="FOLDER", help="MNIST's IDX files (default: found or downloaded)")
    add("--output", type=Path, default=Path("runs/recipes"), metavar="DIR", help="(default: %(default)s)")
    add("--document", type=Path, metavar="DIR", help="put tables and pictures into the documents of this folder")
    options = parser.parse_args(arguments)
    all_parts = options.figures is None and options.ablation is None
    data = mnist_folder(options.data)
    options.output.mkdir(parents=True, exist_ok=True)

    def show(name: str, text: str) -> None:
        print(f"\n{text}", flush=True)
        if options.document:
            put_into_document(options.document / "recipes.md", name, text)

    names = options.figures or (["best", "fast"] if all_parts else [])
    if options.document and len({TABLES[name] for name in names}) > 1:
        parser.error(f"--document: {', '.join(names)} are in several tables: give those of one table at a time")
    if names:
        show(TABLES[names[0]], figures(names, options.seeds, data, options.output))
        if options.document:
            for name in PICTURED & set(names):
                picture = options.document / "images" / f"{name}_mistakes.png"
                shutil.copy(mistakes(options.output / f"{name}-0"), picture)
    if options.ablation or all_parts:
        name = options.ablation or "best"
        epochs = options.epochs or RUNS[name][2].epochs
        text, (whole, _) = ablation(name, options.seeds, epochs, data, options.output, options.jobs)
        show("ablation" if name == "best" else f"ablation-{name}", text)
        if options.document:
            picture = "recipe_curves.png" if name == "best" else f"{name}_curves.png"
            draw_curves(name, whole, options.document / "images" / picture)


if __name__ == "__main__":
    try:
        main()
    except (MinidlError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: run the same command to continue")
