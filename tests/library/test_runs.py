"""`ltood.compare_runs`."""

import numpy as np
import pytest

import ltood
from ltood.core.errors import ConfigError
from tests.runs.run_samples import write_scores


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    stores = {name: write_scores(folder / f"{name}.zarr", name) for name in ("energy", "msp")}
    return ltood.compare_runs(stores, samples=20)


def test_tables_hold_the_figures_in_full(runs):
    summary = runs.to_pandas()
    found = runs.comparison
    for group in found.groups:
        assert summary.loc[group.name, "auroc"] == found.figure(group, "auroc").value
    gaps = runs.to_pandas("differences")
    assert list(gaps.index) == ["msp"]
    assert np.sign(gaps.loc["msp", "auroc"]) == -1


def test_it_prints_and_is_written(runs, tmp_path):
    assert "AUROC" in repr(runs).splitlines()[0]
    assert runs._repr_html_().count("<tr>") == 3
    assert len(runs.to_files(tmp_path / "tables")) == 3 * len(runs.tables)
    runs.to_html(tmp_path / "page.html", "Mine")
    assert "<h1>Mine</h1>" in (tmp_path / "page.html").read_text()
    assert r"\toprule" in runs.to_latex("settings")


def test_what_it_cannot_compare_is_said(runs):
    with pytest.raises(ConfigError, match="list"):
        ltood.compare_runs("energy")
    with pytest.raises(ConfigError, match="pie"):
        runs.to_markdown("pie")
