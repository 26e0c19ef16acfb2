import re

import numpy as np
import pytest

from ltood.reporting import figures


def test_stacked_histogram_reaches_the_sum_of_its_groups():
    bins = np.array([0.0, 1.0, 2.0])
    parts = {"many": np.array([0.5, 0.0]), "few": np.array([0.25, 0.25])}
    svg = figures.histogram(parts, np.array([0.0, 1.0]), bins, {"ood": 1.0, "id": 1.5}, "H").svg
    assert 'aria-label="H"' in svg
    assert "ID, many" in svg
    assert "ID, medium" not in svg
    heights = {}
    for path, role in re.findall(r'<path d="([^"]+)"[^>]*fill: var\(--(many|few)\)', svg):
        points = re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)
        # The bars come first; the same colours come again in the legend.
        heights.setdefault(role, [float(y) for _, y in points])
    # The first bin of "few" stands on "many": half as high and right above it.
    floor, many_top = max(heights["many"]), min(heights["many"])
    few_top = min(heights["few"])
    assert (floor - few_top) / (floor - many_top) == pytest.approx(1.5, abs=0.01)


def test_names_of_close_classes_point_away_from_each_other():
    counts, accuracies = np.array([5, 100, 8, 120, 0]), np.array([0.6, 0.9, 0.7, 0.8, 0.5])
    above = figures.labels_above(counts, accuracies, np.array([0, 1, 2, 3]))
    assert above == {0: False, 2: True, 1: True, 3: False}
    assert figures.labels_above(counts, accuracies, np.array([0])) == {0: True}
    equal = figures.labels_above(np.full(4, 7), np.full(4, 0.5), np.arange(4))
    assert list(equal.values()) == [True, False, True, False]
