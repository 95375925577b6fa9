"""What the recipes of `examples/mnist_mlp.py --recipe` give, and what each part of the best one gives to it.

    python benchmarks/recipes.py                            # best and fast, 3 seeds each, and the ablation
    python benchmarks/recipes.py --figures wide --seeds 1   # a quarter of an hour
    python benchmarks/recipes.py --ablation                 # the ablation alone

The figures are those of the example's own command, on all training images, judged by the test images. The ablation
trains `best` without one part at a time on 50,000 training images, judged by the 10,000 others. What has been measured
is kept in --output; stopped, the same command goes on. ``--document docs`` renews the tables of docs/recipes.md, and
its pictures.
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

from mnist_recipes import RECIPES, FullyConnected  # noqa: E402

from minidl import Trainer, search  # noqa: E402
from minidl.data import augment, load_mnist, train_validation_split  # noqa: E402
from minidl.errors import ArgumentError, MinidlError  # noqa: E402
from minidl.training import Search  # noqa: E402

BEST = RECIPES["best"]
WHOLE = "nothing: the whole recipe"


def without(kind: type[augment.Distortion]) -> FullyConnected:
    return replace(BEST, distortions=tuple(each for each in BEST.distortions if not isinstance(each, kind)))


VARIANTS = {
    WHOLE: BEST,
    "rotation": without(augment.Rotation),
    "scaling": without(augment.Scaling),
    "translation": without(augment.Translation),
    "shear": without(augment.Shear),
    "elastic deformation": without(augment.Elastic),
    "all distortions": replace(BEST, distortions=()),
    "one-cycle: a constant rate of 0.001": replace(BEST, one_cycle=False, learning_rate=0.001),
}
SHORT = "three quarters of the epochs"


def figures(names: list[str], seeds: int, data: Path | None, output: Path) -> str:
    """Run the example's command for each recipe and seed; return the table of what it reports."""
    reports = []
    for name in names:
        for seed in range(seeds):
            folder = output / f"{name}-{seed}"
            if not (folder / "report.json").exists():
                command = [sys.executable, EXAMPLES / "mnist_mlp.py", "--recipe", name, "--seed", str(seed), "--resume"]
                command += ["--output", folder, *(["--data", data] if data else [])]
                subprocess.run(command, check=True)
            (report,) = json.loads((folder / "report.json").read_text(encoding="utf-8"))
            if report["settings"] != repr(RECIPES[name]):
                raise ArgumentError(
                    f"{folder} holds a run of another recipe {name}: delete it to measure the present one"
                )
            reports.append(report)
    table = pd.DataFrame(
        {
            "recipe": f"{each['recipe']}, {each['network']}",
            "test accuracy": each[each["judged_by"]]["accuracy"] * 100,
            "test loss": each[each["judged_by"]]["loss"],
            "seconds": np.nan if each["resumed_after_epochs"] else each["seconds"],  # those of a whole run only
        }
        for each in reports
    ).groupby("recipe", sort=False)
    lines = [f"{'':<26}{'seeds':>6}{'test accuracy in %':>20}{'least':>8}{'test loss':>11}{'seconds':>9}"]
    for recipe, rows in table:
        lines.append(
            f"{recipe:<26}{len(rows):>6}{spread(rows['test accuracy'], 2):>20}{rows['test accuracy'].min():>8.2f}"
            f"{rows['test loss'].mean():>11.4f}{rows['seconds'].median():>9.1f}"
        )
    return "\n".join([machine(), "", *lines])


def ablation(seeds: int, epochs: int, data: Path | None, output: Path, jobs: int) -> tuple[str, list[Search]]:
    """Train the variants from each seed; return the table, and the two searches that it was made by."""
    mnist = load_mnist(data)
    x, x_validation, y, y_validation = train_validation_split(mnist.x_train, mnist.y_train, 1 / 6, seed=0)

    short = max(epochs // 4, 1)

    def build(taken_away: str, seed: int) -> Trainer:
        recipe = {**VARIANTS, SHORT: BEST}[taken_away]
        length = short if taken_away == SHORT else epochs
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
            journal=output / f"ablation-{length}",
            jobs=jobs,
        )
        for names, length in ((list(VARIANTS), epochs), ([SHORT], short))
    ]
    table = pd.concat([each.table for each in searches]).groupby("taken_away", sort=False)
    lines = [
        f"{'':<36}{'validation':>13}{'training':>15}",
        f"{'taken away':<36}{'accuracy':>13}{'accuracy':>15}{'validation loss':>16}",
    ]
    for name in [*VARIANTS, SHORT]:
        rows = table.get_group(name)
        lines.append(
            f"{name:<36}{spread(rows['val_accuracy'] * 100, 2):>13}{spread(rows['accuracy'] * 100, 2):>15}"
            f"{spread(rows['val_loss'], 4):>16}"
        )
    head = (
        f"best on {len(y):,} training images, judged by {len(y_validation):,} others, {epochs} epochs;\n"
        f"mean ± standard deviation over {seeds} seeds, accuracies in %;\n"
        f"training accuracy is that of the images as distorted\n"
        f"{machine()}"
    )
    return "\n".join([head, "", *lines]), searches


def spread(values: pd.Series, digits: int) -> str:
    """Write a mean and, of several values, their standard deviation."""
    deviation = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{deviation}"


def draw_curves(found: Search, path: Path) -> None:
    """Draw the validation error of three variants over the epochs: means of the seeds."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, label in (
        (WHOLE, "best"),
        ("one-cycle: a constant rate of 0.001", "with a constant rate"),
        ("all distortions", "without distortions"),
    ):
        errors = [
            100 * (1 - np.array(run.history["val_accuracy"]))
            for run in found.runs
            if run.parameters["taken_away"] == name
        ]
        axes.plot(range(1, len(errors[0]) + 1), np.mean(errors, axis=0), label=label)
    axes.set(xlabel="epoch", ylabel="validation error in %", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--figures", nargs="+", choices=RECIPES, metavar="RECIPE", help="these recipes' figures alone")
    add("--ablation", action="store_true", help="the ablation alone")
    add("--seeds", type=number, default=3, help="(default: %(default)s)")
    add("--epochs", type=number, default=BEST.epochs, help="of the ablation's runs (default: the recipe's)")
    add("--jobs", type=number, default=1, help="of the ablation's runs, how many at a time (default: %(default)s)")
    add("--data", type=Path, metavar="FOLDER", help="MNIST's IDX files (default: found or downloaded)")
    add("--output", type=Path, default=Path("runs/recipes"), metavar="DIR", help="(default: %(default)s)")
    add("--document", type=Path, metavar="DIR", help="put tables and pictures into the documents of this folder")
    options = parser.parse_args(arguments)
    all_parts = options.figures is None and not options.ablation
    data = mnist_folder(options.data)
    options.output.mkdir(parents=True, exist_ok=True)

    def show(name: str, text: str) -> None:
        print(f"\n{text}", flush=True)
        if options.document:
            put_into_document(options.document / "recipes.md", name, text)

    names = options.figures or (["best", "fast"] if all_parts else [])
    if names:
        show("wide" if names == ["wide"] else "figures", figures(names, options.seeds, data, options.output))
        if options.document:
            for name in names:
                for picture in sorted((options.output / f"{name}-0").glob("*_mistakes.png")):
                    shutil.copy(picture, options.document / "images" / f"{name}_mistakes.png")
    if options.ablation or all_parts:
        text, (whole, _) = ablation(options.seeds, options.epochs, data, options.output, options.jobs)
        show("ablation", text)
        if options.document:
            draw_curves(whole, options.document / "images" / "recipe_curves.png")


if __name__ == "__main__":
    try:
        main()
    except (MinidlError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command goes on")
