"""Which trainings a table needs, and with which settings."""

import json

import pytest

from ltood.core.errors import ConfigError, UnknownNameError
from ltood.tables import small_clip
from ltood.tables.cells import cells_of, merged
from ltood.tables.spec import load_table
from ltood.training.plan import TrainingConfig
from tests.tables.table_samples import CONTENT, make_table


def test_rows_of_one_training_share_a_cell():
    cells = cells_of(make_table())
    assert [(cell.seed, [row.name for row in cell.rows]) for cell in cells] == [
        (0, ["MSP", "kNN"]),
        (0, ["PATT"]),
        (1, ["MSP", "kNN"]),
        (1, ["PATT"]),
    ]
    assert len({cell.name for cell in cells}) == 4
    assert [cell.name for cell in cells] == [cell.name for cell in cells_of(make_table())]


def test_a_cell_has_every_setting_whatever_params_yaml_says():
    first, patt, *_ = cells_of(make_table())
    assert first.params["training"]["epochs"] == 2
    assert patt.params["training"]["epochs"] == 3
    assert patt.params["training"]["batch_size"] == 32
    # Neither given: the default of the code.
    assert first.params["training"]["learning_rate"] == TrainingConfig().learning_rate
    assert first.params["evaluation"] == {"groups": {"near": ["b"]}}
    assert first.params["compare"]["methods"] == ["msp", "knn"]
    assert patt.params["compare"]["calibrators"] == ["patt"]
    assert set(first.params["methods"]) == {"msp", "knn"}
    assert first.params["recipe"] == "cross_entropy"
    assert first.params["seed"] == 0


def test_other_settings_of_a_method_are_another_cell():
    rows = [
        {
            "name": str(k),
            "method": "knn",
            "params": {"recipe": "cross_entropy", "methods": {"knn": {"k": k}}},
        }
        for k in (5, 10)
    ]
    cells = cells_of(make_table(rows=rows, seeds=[0], published=[]))
    assert [cell.params["methods"]["knn"]["k"] for cell in cells] == [5, 10]


def test_what_entries_draw_follows_the_seed_of_the_cell():
    rows = [
        {"name": "a", "method": "gmm", "params": {"recipe": "cross_entropy"}},
        {
            "name": "b",
            "method": "gmm",
            "params": {"recipe": "cross_entropy", "methods": {"gmm": {"seed": 7}}},
        },
    ]
    cells = cells_of(make_table(rows=rows, seeds=[0, 4], published=[]))
    assert [cell.params["methods"]["gmm"]["seed"] for cell in cells] == [0, 7, 4, 7]


def test_a_row_that_no_seed_changes_runs_once():
    rows = [*CONTENT["rows"][:2], {**CONTENT["rows"][2], "deterministic": True}]
    cells = cells_of(make_table(rows=rows))
    assert [(cell.seed, len(cell.rows)) for cell in cells] == [(0, 2), (0, 1), (1, 2)]


def test_published_settings_stand_below_those_of_the_table():
    params = {"preset": "bin-disc-cifar10-lt", "training": {"epochs": 1}}
    rows = [{"name": "B", "method": "bin_disc", "params": {}}]
    (cell,) = cells_of(make_table(params=params, rows=rows, seeds=[3], published=[], groups={}))
    assert cell.params["training"]["epochs"] == 1
    assert cell.params["training"]["batch_size"] == 256
    assert cell.params["recipe"] == "bin_disc"
    assert cell.params["seed"] == 3


def test_the_seed_stands_in_texts_and_numbers():
    mark = "${seed}"
    params = {
        **CONTENT["params"],
        "recipe": "pretrained",
        "training": {"weights": f"data/weights/s{mark}/best.ckpt"},
        "methods": {"gmm": {"seed": mark}},
    }
    rows = [{"name": "G", "method": "gmm"}, {"name": "Once", "deterministic": True}]
    needs = [{"path": f"data/weights/s{mark}/best.ckpt", "source": "an archive"}]
    table = make_table(params=params, rows=rows, seeds=[3, 5], published=[], needs=needs)
    cells = cells_of(table)
    assert [(cell.params["training"]["weights"], len(cell.rows)) for cell in cells] == [
        ("data/weights/s3/best.ckpt", 2),
        ("data/weights/s5/best.ckpt", 1),
    ]
    assert [cell.params["methods"]["gmm"]["seed"] for cell in cells] == [3, 5]
    wanted = ["data/weights/s3/best.ckpt", "data/weights/s5/best.ckpt"]
    assert [need.path for need in table.needs] == wanted


def test_seeds_of_a_preset_give_way_to_those_of_the_table():
    """The published settings name one of the seeds that the paper averages."""
    table = load_table("clip-mos")
    learned = [cell for cell in cells_of(table) if cell.params["recipe"] == "locoop"]
    drawn = {(cell.seed, cell.params["datasets"]["imagenet"]["shots_seed"]) for cell in learned} | {
        (cell.seed, cell.params["backbones"]["clip"]["view_seed"]) for cell in learned
    }
    assert drawn == {(1, 1), (2, 2), (3, 3)}
    (row,) = [{"name": "L", "method": "gl_mcm", "params": {"preset": "locoop-1-shot"}}]
    (cell,) = cells_of(make_table(params={}, rows=[row], seeds=[7], published=[], groups={}))
    assert cell.params["datasets"]["imagenet"]["shots_seed"] == 7


def test_later_settings_win_and_sections_are_merged():
    found = merged({"a": {"x": 1, "y": [1]}, "b": 1}, {"a": {"y": [2]}, "c": {}})
    assert found == {"a": {"x": 1, "y": [2]}, "b": 1, "c": {}}


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"dataset": "demo", "backbone": "cifar_resnet", "training": {"epoch": 1}}, "epoch"),
        ({"backbone": "cifar_resnet"}, "dataset"),
        ({"dataset": "demo", "backbone": "cifar_resnet", "extra": 1}, "extra"),
        ({"dataset": "demo", "backbone": "cifar_resnet", "preset": "patt-mnist"}, "patt-mnist"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(params, named):
    with pytest.raises((ConfigError, UnknownNameError), match=named):
        cells_of(make_table(params=params))


def test_the_demo_has_five_trainings_for_each_seed_and_one_network_as_it_is(tmp_path, monkeypatch):
    """Cross entropy, OE, PATT, ImOOD and LoCoOp; nothing is trained for the zero-shot row."""
    table = load_table("demo")
    path = tmp_path / "data" / "weights" / "small_clip.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(small_clip.CONFIG))
    monkeypatch.chdir(tmp_path)
    assert len(table.seeds) == 3
    assert len(cells_of(table)) == 3 * 5 + 1
