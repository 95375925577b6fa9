"""Pictures of the documents: all are drawn, and every schedule that there is stands in one of the panels."""

from scripts import ROOT, run_here

from minidl import schedules


def test_all_pictures_are_drawn(tmp_path, small_mnist_folder):
    result = run_here("benchmarks/pictures", "--data", small_mnist_folder, "--output", tmp_path / "images")
    assert result.returncode == 0, result.stderr
    suggested, found, cost = result.stdout.splitlines()
    assert float(suggested.removeprefix("suggested: ")) > 0
    assert found.startswith("Search(27 candidates")
    assert int(cost.removesuffix(" epochs, in place of 243")) < 243
    names = (
        "schedules.png",
        "rate_search.png",
        "search.png",
        "gradients.png",
        "distortions.png",
        "distorted_photographs.png",
        "evidence.png",
        "row_of_mistakes.png",
    )
    for name in names:
        assert (tmp_path / "images" / name).read_bytes().startswith(b"\x89PNG")


def test_no_schedule_is_left_out():
    source = (ROOT / "benchmarks" / "pictures.py").read_text(encoding="utf-8")
    kinds = [
        kind for kind in vars(schedules).values() if isinstance(kind, type) and issubclass(kind, schedules.Schedule)
    ]
    names = [kind.__name__ for kind in kinds if kind is not schedules.Schedule and not kind.__name__.startswith("_")]
    assert names
    assert not [name for name in names if f"{name}(" not in source]
