"""The benchmark of the recipes: its tables are those of the runs that it keeps, and it goes on where it was."""

import json
import re

import pytest
from scripts import run_here

DOCUMENT = "<!-- figures -->\n\n```text\n```\n\n<!-- ablation -->\n\n```text\n```\n"


@pytest.fixture
def documents(tmp_path):
    folder = tmp_path / "docs"
    (folder / "images").mkdir(parents=True)
    (folder / "recipes.md").write_text(DOCUMENT)
    return folder


def measure(mnist_folder, tmp_path, documents, *options):
    places = ["--data", mnist_folder, "--output", tmp_path / "runs", "--document", documents]
    result = run_here("benchmarks/recipes", *places, *options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_figures_are_those_that_the_example_reports(mnist_folder, tmp_path, documents):
    options = (mnist_folder, tmp_path, documents, "--figures", "fast", "--seeds")
    out = measure(*options, "1")
    path = tmp_path / "runs" / "fast-0" / "report.json"
    (report,) = json.loads(path.read_text())
    line = re.search(r"^fast, 784-128-64-10 +1 +([\d.]+) +([\d.]+).*", out, re.MULTILINE)
    assert len(line[0]) <= 80
    assert float(line[1]) == float(line[2]) == pytest.approx(100 * report["test"]["accuracy"], abs=0.01)
    assert line[0] in (documents / "recipes.md").read_text()
    assert not (documents / "images" / "fast_mistakes.png").exists()  # docs/recipes.md does not show it

    # Runs that are reported are not made again.
    for seed, accuracy in ((0, 0.5), (1, 0.6)):
        report["test"]["accuracy"] = accuracy
        path.parent.with_name(f"fast-{seed}").mkdir(exist_ok=True)
        path.parent.with_name(f"fast-{seed}").joinpath("report.json").write_text(json.dumps([report]))
        path.parent.with_name(f"fast-{seed}").joinpath("settings.json").write_text('{"left": []}')
    assert re.search(r"^fast, 784-128-64-10 +2 +55.00 ± 7.07 +50.00", measure(*options, "2"), re.MULTILINE)

    path.write_text(path.read_text().replace("epochs=7", "epochs=9"))
    with pytest.raises(AssertionError, match="holds a run of another recipe fast: delete it"):
        measure(*options, "1")


def test_recipes_of_several_tables_cannot_be_put_into_a_document_at_once(tmp_path, documents):
    result = run_here("benchmarks/recipes", "--figures", "best", "conv", "--document", documents, "--output", tmp_path)
    assert result.returncode == 2
    assert "best, conv are in several tables: give those of one table at a time" in result.stderr


def test_convolutions_have_figures_and_an_ablation_of_their_own(small_mnist_folder, tmp_path, documents):
    options = (small_mnist_folder, tmp_path, documents, "--seeds", "1")
    documents.joinpath("recipes.md").write_text(
        DOCUMENT.replace("ablation", "ablation-conv").replace("figures", "conv")
    )
    assert re.search(r"^conv-fast, 28x28-c8-c24-128-10 +1 ", measure(*options, "--figures", "conv-fast"), re.MULTILINE)
    out = measure(*options, "--ablation", "conv", "--epochs", "2")
    text = (documents / "recipes.md").read_text()
    for name in ("nothing: the whole recipe", "batch normalization", "dropout", "the second convolution of a stage"):
        assert re.search(rf"^{name}.* +\d+\.\d\d +\d+\.\d\d +\d+\.\d{{4}}$", out, re.MULTILINE)[0] in text
    assert (documents / "images" / "conv_curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_ablation_has_a_line_for_each_part(mnist_folder, tmp_path, documents):
    out = measure(mnist_folder, tmp_path, documents, "--ablation", "--seeds", "1", "--epochs", "4")
    text = (documents / "recipes.md").read_text()
    for name in ("nothing: the whole recipe", "rotation", "elastic deformation", "all distortions", "3 of 4 epochs"):
        line = re.search(rf"^{name}.* +\d+\.\d\d +\d+\.\d\d +\d+\.\d{{4}}$", out, re.MULTILINE)
        assert line[0] in text
        assert len(line[0]) <= 80
    assert (documents / "images" / "recipe_curves.png").read_bytes().startswith(b"\x89PNG")


def test_copies_and_the_ensemble_have_lines_of_their_own(small_mnist_folder, tmp_path, documents):
    documents.joinpath("recipes.md").write_text(DOCUMENT.replace("figures", "conv"))
    out = measure(small_mnist_folder, tmp_path, documents, "--figures", "conv", "--seeds", "2")
    reports = [json.loads((tmp_path / "runs" / f"conv-{seed}" / "report.json").read_text())[0] for seed in (0, 1)]
    mean = 50 * sum(report["averaged"]["accuracy"] for report in reports)
    assert re.search(rf"^  mean over 16 shifted copies +2 +{mean:.2f} ± ", out, re.MULTILINE)
    assert re.search(r"^  ensemble of these 2 +1 +\d+\.\d\d +\d+\.\d\d +\d+\.\d{4} *$", out, re.MULTILINE)
    assert (documents / "images" / "conv_mistakes.png").read_bytes().startswith(b"\x89PNG")


def test_a_student_counts_the_time_of_its_teacher_and_continues(small_mnist_folder, tmp_path, documents):
    documents.joinpath("recipes.md").write_text(DOCUMENT.replace("figures", "distilled"))
    options = (small_mnist_folder, tmp_path, documents, "--figures", "distilled", "--seeds", "1")
    out = measure(*options)
    folder = tmp_path / "runs" / "distilled-0"
    teacher, student = json.loads((folder / "report.json").read_text())
    line = re.search(r"^distilled, 784-128-64-10 +1 +([\d.]+) .* ([\d.]+)$", out, re.MULTILINE)
    assert float(line[1]) == pytest.approx(100 * student["test"]["accuracy"], abs=0.01)
    assert float(line[2]) == pytest.approx(teacher["seconds"] + student["seconds"], abs=0.06)

    # As after Ctrl-C when the teacher is trained.
    settings = json.loads((folder / "settings.json").read_text())
    (folder / "settings.json").write_text(json.dumps(settings | {"left": ["784-128-64-10"]}))
    (folder / "report.json").write_text(json.dumps([teacher]))
    again = re.search(r"^distilled, 784-128-64-10 +1 +([\d.]+) ", measure(*options), re.MULTILINE)
    assert again[1] == line[1]

    report = json.loads((folder / "report.json").read_text())
    report[0]["settings"] = report[0]["settings"].replace("epochs=8", "epochs=9")
    (folder / "report.json").write_text(json.dumps(report))
    with pytest.raises(AssertionError, match="holds a run of another recipe distilled: delete it"):
        measure(*options)
