"""Names, titles and settings of what is compared."""

import pytest

from ltood.comparing.plan import (
    GROUPS,
    Combination,
    Config,
    by_package,
    methods_or_word,
    names_or_all,
    parse_settings,
)
from ltood.core.errors import ConfigError, UnknownNameError
from ltood.core.registry import available, check_name


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


def test_groups_name_entries_and_take_no_names():
    for group, rows in GROUPS.items():
        assert group not in available("methods")
        assert methods_or_word([group]) == Config(methods=group).methods == group
        for calibrator, method in rows:
            check_name("calibrators", calibrator)
            check_name("methods", method)
    with pytest.raises(UnknownNameError, match="No method 'long_tail'"):
        Config(methods=methods_or_word(["long_tail", "knn"]))
    with pytest.raises(ConfigError, match=r"compare.calibrators is 'long_tail'"):
        Config(calibrators="long_tail")


def test_a_group_brings_its_calibrators_for_its_own_rows_alone():
    config = Config("long_tail", ("none", "patt"))
    titles = [row.title for row in config.combinations()]
    assert len(set(titles)) == len(titles)
    assert [title for title in titles if "+" not in title] == [
        *("hpm", "rp_msp", "rp_gradnorm", "rw_energy", "himplos", "knn")
    ]
    assert {"patt+hpm", "patt+knn", "logit_adjustment+energy"} <= set(titles)
    assert not {"energy", "patt+energy", "logit_adjustment+hpm"} & set(titles)
    assert not config.is_explicit
    settings = {"logit_adjustment": {"tau": 2.0}, "energy": {"temperature": 2.0}}
    assert by_package(settings, config)["calibrators"] == {"logit_adjustment": {"tau": 2.0}}


def test_a_group_stands_behind_a_calibrator_of_its_own_where_that_is_named():
    config = Config("long_tail", ("logit_adjustment",), ("none", "imood"))
    titles = [row.title for row in config.combinations()]
    assert {"logit_adjustment+hpm", "logit_adjustment+energy+imood"} <= set(titles)
    assert titles.count("logit_adjustment+energy") == 1
    assert "hpm" not in titles
