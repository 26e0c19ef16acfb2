"""Names, titles and settings of what is compared."""

import pytest

from ltood.comparing.plan import Combination, Config, by_package, names_or_all, parse_settings
from ltood.core.errors import ConfigError


def test_titles_leave_none_out():
    assert Combination("none", "knn", "none").title == "knn"
    assert Combination("patt", "knn", "imood").title == "patt+knn+imood"


@pytest.mark.parametrize(
    ("slots", "sentence"),
    [
        ({"methods": ()}, "compare.methods is empty"),
        ({"calibrators": ("none", "none")}, "compare.calibrators names none twice"),
        ({"normalisers": ("imod",)}, "No normaliser 'imod'. Did you mean imood"),
    ],
)
def test_names_are_checked(slots, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Config(**slots)


def test_settings_of_the_command_line():
    settings = parse_settings(["knn.k=3", "knn.normalise=false", "patt.low=0.1"])
    assert settings == {"knn": {"k": 3, "normalise": False}, "patt": {"low": 0.1}}
    sorted_ = by_package(settings, Config(("knn",), ("patt",)))
    assert sorted_["methods"] == {"knn": {"k": 3, "normalise": False}}
    assert sorted_["calibrators"] == {"patt": {"low": 0.1}}
    for bad in ("k=3", ".k=3", "knn.=3"):
        with pytest.raises(ConfigError, match=r"names no entry; write NAME.KEY=VALUE"):
            parse_settings([bad])
    with pytest.raises(ConfigError, match="--set patt: patt is not compared; name it too, or set"):
        by_package(settings, Config(("knn",)))
    assert names_or_all(["all"]) == "all"
    assert names_or_all(["a", "b"]) == ("a", "b")


def test_the_plan_loads_nothing_heavy():
    import subprocess
    import sys

    code = "import sys, ltood.comparing.plan; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_what_chooses_among_the_others_is_compared_where_it_is_named():
    everything = Config().names("methods")
    assert {"ensemble", "knn"} <= set(everything)
    assert "auto" not in everything
    assert Config(("auto", "knn")).names("methods") == ["auto", "knn"]
