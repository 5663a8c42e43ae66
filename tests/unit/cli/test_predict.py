"""Options of `vmapbench predict`, and what it prints."""

import json

import pytest

from harness.cli.verbs.predict import parse_counts, parse_nodes, parse_sweep
from harness.errors import InputError


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("8", [8]),
        ("1,2,6", [1, 2, 6]),
        ("1..8", [1, 2, 4, 8]),
        ("3..20", [3, 4, 8, 16, 20]),
        ("64..64", [64]),
    ],
)
def test_cpu_counts(text, counts):
    assert parse_counts(text) == counts


@pytest.mark.parametrize("text", ["", "0", "x", "1..x", "1..2000", "-1"])
def test_wrong_cpu_counts(text):
    with pytest.raises(InputError, match="--cpus"):
        parse_counts(text)


def test_nodes():
    assert parse_nodes("1,cpus") is None
    assert parse_nodes("cpus") is None
    assert parse_nodes("1,8") == 8
    with pytest.raises(InputError, match="--nodes"):
        parse_nodes("1,many")


def test_sweeps():
    assert parse_sweep("nodes=1,4") == ("nodes", [1.0, 4.0])
    name, values = parse_sweep("decay=0..1")
    assert (name, len(values), values[0], values[-1]) == ("decay", 9, 0.0, 1.0)
    for text in ("decay", "decay=", "decay=a..b", "decay=-1,0"):
        with pytest.raises(InputError, match="--sweep"):
            parse_sweep(text)


@pytest.fixture
def predict(vmapbench):
    return lambda *words: vmapbench("predict", "--pairs", "3000", *words)


def test_json_has_a_ratio_per_case_and_cpu_count(predict):
    result = predict("--cpus", "1,4", "--case", "fix_size", "--case", "full_fit", "--json")
    assert result.returncode == 0, result.output
    points = json.loads(result.stdout)["points"]
    assert [(p["case"], p["cpus"]) for p in points] == [
        ("fix_size", 1),
        ("fix_size", 4),
        ("full_fit", 1),
        ("full_fit", 4),
    ]
    assert points[0]["ratio"] == pytest.approx(1.0)
    assert {"pairs_per_s", "utilisation", "bottleneck", "bounds"} <= set(points[0]["many"])
    _, four = json.loads(result.stdout)["all_cases"]
    ratios = [point["ratio"] for point in points if point["cpus"] == 4]
    assert min(ratios) < four["ratio"] < max(ratios)  # a load of both lies between them
    assert four["single_s"] / four["many_s"] == pytest.approx(four["ratio"])


def test_a_sweep_draws_a_chart(predict, tmp_path):
    chart = tmp_path / "decay.html"
    result = predict("--cpus", "4", "--sweep", "decay=0,0.25,1", "--chart", str(chart))
    assert result.returncode == 0, result.output
    assert len(result.stdout.splitlines()) == 4
    text = chart.read_text()
    assert "vega" in text
    assert "Predicted for 4 CPUs" in text
