"""Settings to try: grids, random draws, and what is refused."""

from dataclasses import dataclass

import pytest

from ltood.core.errors import ConfigError
from ltood.sweeping.candidates import (
    Range,
    grid_candidates,
    parse_grid,
    parse_ranges,
    random_candidates,
)


@dataclass(frozen=True)
class Numbers:
    """Settings of a method that takes a whole number and others."""

    k: int = 1
    clip: float | None = None


def test_grid_values_are_read_as_in_params():
    grid = parse_grid(["clip=0.5,1,null,auto", "mask=true", "k=1,3,...,9,20", "x=0.1,0.2,...,0.5"])
    assert grid == {
        "clip": [0.5, 1, None, "auto"],
        "mask": [True],
        "k": [1, 3, 5, 7, 9, 20],
        "x": [0.1, 0.2, 0.3, 0.4, 0.5],
    }
    assert parse_grid(["t=90,80,...,60"]) == {"t": [90, 80, 70, 60]}
    two = {"a": [1, 2], "b": [3, 4]}
    assert grid_candidates(two) == [
        {"a": 1, "b": 3},
        {"a": 1, "b": 4},
        {"a": 2, "b": 3},
        {"a": 2, "b": 4},
    ]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["percentile"], "--grid takes KEY=VALUES, such as percentile=0,10,...,90; got 'perc"),
        (["k=1", "k=2"], "--grid k is given twice; give all its values at once"),
        (["k="], "--grid k= has no values; list at least one"),
        (["k=1,2,1"], "--grid k=1,2,1 lists a value twice"),
        (["k=1,...,9"], "--grid k=1,...,9: ... stands between two numbers and a last one"),
        (["k=1,3,...,8"], "a last one that equal steps reach"),
        (["k=2,2,...,8"], "a last one that equal steps reach"),
        (["k=a,b,...,c"], "a last one that equal steps reach"),
        (["k=0,0.00001,...,90"], "9,000,000 values"),
    ],
)
def test_a_grid_that_is_none_is_refused(items, message):
    with pytest.raises(ConfigError, match=message):
        parse_grid(items)


def test_grids_have_a_size():
    with pytest.raises(ConfigError, match="nothing is swept; give --grid"):
        grid_candidates({})
    with pytest.raises(ConfigError, match="the grid has 160,000 combinations; the limit is 100"):
        grid_candidates({"a": range(400), "b": range(400)})


def test_a_grid_of_millions_is_refused_with_their_number():
    grid = parse_grid(["percentile=0,0.001,...,90", "clip=0,0.001,...,3"])
    with pytest.raises(ConfigError, match="270,093,001"):
        grid_candidates(grid)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("p", "--range takes KEY=VALUES, such as percentile=0:95; got 'p'"),
        ("p=1", "--range p=1 is not an interval; give KEY=LOW:HIGH"),
        ("p=5:1", "is not an interval; give KEY=LOW:HIGH with LOW below HIGH"),
        ("p=1:inf", "is not an interval"),
        ("p=-1e308:1e308", "is not an interval"),
        ("p=1:2:logs", "is not an interval"),
        ("p=0:2:log", "--range p=0:2:log starts at 0; a :log range starts above 0"),
    ],
)
def test_a_range_that_is_none_is_refused(item, message):
    with pytest.raises(ConfigError, match=message):
        parse_ranges([item])


def test_random_draws_stay_inside_and_repeat_with_the_seed():
    ranges = parse_ranges(["k=1:1000:log", "clip=0.5:2"])
    assert ranges == {"k": Range(1, 1000, True), "clip": Range(0.5, 2)}
    drawn = random_candidates({"x": ["a", "b"]}, ranges, Numbers, 300, seed=1)
    assert drawn == random_candidates({"x": ["a", "b"]}, ranges, Numbers, 300, seed=1)
    assert drawn != random_candidates({"x": ["a", "b"]}, ranges, Numbers, 300, seed=2)
    assert len({str(item) for item in drawn}) == 300
    assert {item["x"] for item in drawn} == {"a", "b"}
    assert all(type(item["k"]) is int and 1 <= item["k"] <= 1000 for item in drawn)
    assert all(type(item["clip"]) is float and 0.5 <= item["clip"] <= 2 for item in drawn)
    # Half of the logarithm lies below the root of 1000.
    assert 100 < sum(item["k"] < 32 for item in drawn) < 200


def test_small_spaces_come_back_whole():
    drawn = random_candidates({}, {"k": Range(1.5, 4.5)}, Numbers, 50)
    assert sorted(item["k"] for item in drawn) == [2, 3, 4]
    drawn = random_candidates({}, {"k": Range(1.5, 4.5, True)}, Numbers, 50)
    assert sorted(item["k"] for item in drawn) == [2, 3, 4]


@pytest.mark.parametrize(
    ("grid", "ranges", "count", "message"),
    [
        ({}, {}, 5, "nothing is swept; give --range"),
        ({"k": [1]}, {"k": Range(1, 5)}, 5, "k has both --grid and --range"),
        ({"k": [1]}, {}, 0, "--random is 0; draw 1 to 100,000 settings"),
        ({}, {"k": Range(0.2, 0.8)}, 5, "k takes whole numbers and its --range holds none"),
        ({}, {"k": Range(1, 1e300)}, 5, "k takes whole numbers and its --range goes beyond"),
        ({}, {"k": Range(1, 1e300, True)}, 5, "k takes whole numbers and its --range goes beyond"),
    ],
)
def test_draws_that_cannot_be_made_are_refused(grid, ranges, count, message):
    with pytest.raises(ConfigError, match=message):
        random_candidates(grid, ranges, Numbers, count)


def test_a_seed_below_zero_is_refused():
    with pytest.raises(ConfigError, match="--seed is -1"):
        random_candidates({"k": [1, 2]}, {}, Numbers, 1, seed=-1)
