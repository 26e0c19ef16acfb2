import json

import numpy as np
import pytest

from ltood.core.errors import ConfigError
from ltood.deployment.promises import Promise, class_shares, read_class_mix


@pytest.mark.parametrize("name", ["fpr", "fdr", "sets"])
@pytest.mark.parametrize("value", [0, 1, 1.2, -0.1, float("nan")])
def test_levels_are_shares(name, value):
    with pytest.raises(ConfigError, match=name):
        Promise(**{name: value})


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({"fpr": 0.1, "fdr": 0.1}, ("fpr", "fdr")),
        ({"fpr": 0.1, "sets": 0.1}, ("fpr", "sets")),
        ({"fdr": 0.1, "sets": 0.1}, ("fdr", "sets")),
        ({"confidence": 0.9}, ("none",)),
        ({"fdr": 0.1, "confidence": 0.9}, ("confidence", "fdr")),
        ({"fdr": 0.1, "class_mix": "uniform"}, ("class_mix", "fdr")),
        ({"sets": 0.1, "per_group": "class"}, ("per_group", "sets")),
        ({"sets": 0.1, "confidence": 0.9}, ("confidence", "sets")),
        ({"sets": 0.1, "class_mix": "train"}, ("class_mix", "sets")),
        ({"fpr": 0.1, "confidence": 0.9, "class_mix": "train"}, ("class_mix", "confidence")),
        ({"fpr": 0.1, "per_group": "class", "class_mix": [1, 2]}, ("class_mix", "per_group")),
        ({"fpr": 0.1, "per_group": "colour"}, ("per_group", "colour")),
        ({"fpr": 0.1, "confidence": 1.0}, ("confidence",)),
    ],
)
def test_what_excludes_one_another_is_refused(options, keys):
    with pytest.raises(ConfigError) as caught:
        Promise(**options)
    for key in keys:
        assert key in str(caught.value)


def test_no_option_is_no_promise():
    assert Promise.asked(fpr=None, sets=None) is None
    assert Promise.asked(fpr=0.1, confidence=0.9).level == 0.1


@pytest.mark.parametrize(
    ("mix", "shares"),
    [
        ("uniform", [0.25, 0.25, 0.25, 0.25]),
        ("train", [0.4, 0.3, 0.2, 0.1]),
        ({"a": 3, "d": 1}, [0.75, 0, 0, 0.25]),
        ([1, 1, 1, 5], [0.125, 0.125, 0.125, 0.625]),
        (np.array([0.1, 0.2, 0.3, 0.4]), [0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_class_shares(mix, shares):
    np.testing.assert_allclose(class_shares(mix, "abcd", [4, 3, 2, 1]), shares)


@pytest.mark.parametrize(
    "mix",
    [
        "even",
        {"z": 1},
        {"a": -1},
        {"a": "1"},
        [1, 2],
        [0, 0, 0, 0],
        [1, 1, 1, 1e999],
    ],
)
def test_class_mixes_that_do_not_fit(mix):
    with pytest.raises(ConfigError, match="class_mix"):
        class_shares(mix, "abcd", [4, 3, 2, 1])


def test_a_class_mix_is_read_from_a_file(tmp_path):
    assert read_class_mix("uniform") == "uniform"
    path = tmp_path / "mix.json"
    for mix in ({"a": 0.5}, [1, 2]):
        path.write_text(json.dumps(mix))
        assert read_class_mix(str(path)) == mix
    for text in ("{", '"uniform"', "3"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="class_mix"):
            read_class_mix(str(path))
    with pytest.raises(ConfigError, match="class_mix"):
        read_class_mix(str(tmp_path / "gone.json"))
