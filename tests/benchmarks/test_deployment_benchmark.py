"""The benchmark of exported networks runs, and has a line for each network and way to compute it."""

import re

import onnxfiles  # noqa: F401 - skips without the libraries
from scripts import run_here


def test_it_compares_minidl_with_onnx_runtime_in_32_and_8_bits(mnist_folder):
    result = run_here("benchmarks/deployment", "--quick", "--data", mnist_folder)
    assert (result.returncode or 0, result.stderr) == (0, "")
    lines = re.findall(r"^(\S+) +(\S.*?) +(\d+) +([\d.]+) +(\d+) +([\d.]+)$", result.stdout, re.MULTILINE)
    assert [line[:2] for line in lines] == [
        (network, way)
        for network in ("784-128-64-10", "convolutions")
        for way in ("minidl", "ONNX Runtime, float32", "ONNX Runtime, int8")
    ]
    for own, single, small in (lines[:3], lines[3:]):
        assert own[3] == single[3]
        assert int(small[2]) < int(single[2]) / 2
