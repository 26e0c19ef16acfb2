"""Figures as files for papers."""

import re
import struct

import numpy as np
import pytest

from ltood.core.errors import ConfigError
from ltood.evaluation.measures import Evaluation
from ltood.reporting import figures
from ltood.reporting.compared_figures import confusion, with_intervals
from ltood.reporting.drawing import ROLES
from ltood.reporting.paper import FORMATS, WIDTHS, Paper, drawn, width_of
from ltood.reporting.run_figures import figures_of
from ltood.reporting.training import read_history
from tests.reporting.report_samples import ROWS, make_store


def bars(name="svhn"):
    return figures.group_bars({name: {"many": 0.1, "medium": 0.2, "few": None}}, "Bars")


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_figure_has_the_same_bytes(form):
    first = drawn(bars(), form, Paper())
    assert first == drawn(bars(), form, Paper())
    assert b"Date" not in first
    assert b"Producer" not in first


def test_fonts_are_embedded_as_type_42():
    pdf = drawn(bars(), "pdf", Paper())
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


def test_the_width_is_that_of_the_column():
    png = drawn(bars(), "png", Paper(WIDTHS["double"], dpi=100))
    assert struct.unpack(">I", png[16:20])[0] == round(100 * WIDTHS["double"])
    pdf = drawn(bars(), "pdf", Paper(2.0))
    assert float(re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", pdf)[1]) == pytest.approx(144)


def test_no_colour_of_a_role_is_left():
    rows = {f"method {n}": (0.5 + n / 50, 0.5, 0.9) for n in range(4)}
    bins = np.linspace(0, 1, 5)
    shares = np.full(4, 0.25)
    histogram = figures.histogram({"id": shares}, shares, bins, {"ood": 0.2, "id": 0.8}, "H")
    for drawing in (with_intervals(rows, "AUROC", "L"), histogram, bars()):
        svg = drawn(drawing, "svg", Paper()).decode()
        assert not set(re.findall(r"#[0-9a-f]{6}", svg)) & set(ROLES.values())
        assert "<text" not in svg


def test_letters_that_a_font_lacks_are_told():
    with pytest.warns(UserWarning, match="--font"):
        drawn(bars("数据"), "png", Paper(dpi=50))


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ConfigError, match="bmp"):
        drawn(bars(), "bmp", Paper())
    with pytest.raises(ConfigError, match="Nobody"):
        drawn(bars(), "pdf", Paper(font="Nobody"))
    with pytest.raises(ConfigError, match="wide"):
        width_of("wide")
    with pytest.raises(ConfigError, match="--width"):
        Paper(0.1)
    with pytest.raises(ConfigError, match="--dpi"):
        Paper(dpi=1)


def test_a_run_has_its_figures_by_name():
    evaluation = Evaluation(make_store())
    history = read_history("epoch,loss,val_accuracy\n1,2.0,0.5\n2,1.0,0.75\n")
    names = set(figures_of(evaluation, {"rows": ROWS}, history))
    assert {"roc", "scores-near", "confusion", "training-loss", "leaderboard"} <= names
    assert not {"training-loss", "leaderboard"} & set(figures_of(evaluation))


def test_a_confusion_matrix_shades_every_pair_that_occurs():
    counts = np.array([[3, 1, 0], [0, 0, 0], [0, 2, 2]])
    svg = drawn(confusion(counts, ["a", "_b", "c"]), "svg", Paper()).decode()
    assert svg.count("opacity: 0.75") == 1
    assert svg.count("opacity: 0.25") == 1
    assert svg.count("opacity: 0.5") == 2
