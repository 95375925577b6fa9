"""The benchmark of the distortions runs, and its contestants do what it says."""

import re

from scripts import run


def test_every_contestant_has_a_rate_for_both_kinds(mnist_folder, tmp_path):
    document = tmp_path / "document.md"
    document.write_text("<!-- augment -->\n\n```text\n```\n")
    options = ["--data", mnist_folder, "--images", "256", "--rounds", "1", "--document", document]
    result = run("benchmarks/augment", *options)
    assert result.returncode == 0, result.stderr
    rates = {
        name.strip(): (affine, elastic)
        for name, affine, elastic in re.findall(r"^(\S.*?) +([\d,]+) +([\d,]+)$", result.stdout, re.MULTILINE)
    }
    assert {"minidl, 1 thread", "minidl, 2 threads", "SciPy, image by image"} <= rates.keys()
    assert all(int(rate.replace(",", "")) > 0 for pair in rates.values() for rate in pair)
    assert result.stdout.strip() in document.read_text()
