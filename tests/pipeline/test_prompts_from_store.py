"""Heads from text in the whole pipeline: what is encoded once, and what a setting costs."""

import json
from pathlib import Path
from typing import Any

import pytest

from ltood.negatives import WordList
from ltood.store.adapted import read_adapted
from tests.pipeline.workspace import AFTER_EXTRACT, Workspace

#: DVC asks the train stage, which finds its weights as they were: nothing is encoded again.
AFTER_RECIPE = ["train", "adapt", "calibrate", "score", "normalise", "evaluate"]
SMALL = [f"recipes.coop.{setting}" for setting in ("n_ctx=4", "epochs=2", "shots=4")]
#: Settings, the last stages where not all run, and the stages that must run.
CHANGES = [
    (["recipe=zero_shot"], ("evaluate",), ["train", "extract", *AFTER_RECIPE[1:]]),
    (["recipe=coop", *SMALL], ("evaluate",), AFTER_RECIPE),
    (["recipes.coop.n_ctx=5", "recipes.coop.position=front"], ("evaluate",), AFTER_RECIPE),
    (["negatives.words=words.csv", "negatives.share=0.5", "method=neglabel"], (), AFTER_EXTRACT),
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("text_heads") / "copy", lambda content: None)
    entry = Path(__file__).with_name("tiny_clip.py").read_bytes()
    (workspace.path / "ltood/backbones/tiny_clip.py").write_bytes(entry)

    def change(content: dict[str, Any]) -> None:
        content |= {"backbone": "tiny_clip", "method": "mcm"}
        content["backbones"]["tiny_clip"] = {}
        content["compare"]["methods"] = ["mcm", "max_cosine"]

    workspace.params(change)
    words = WordList("neglabel", (("lamp", "noun"), ("sea", "noun"), ("blue", "adjective")))
    (workspace.path / "words.csv").write_text(words.to_text())
    workspace.commit()
    return workspace


@pytest.mark.timeout(900)
def test_a_change_of_the_prompt_never_encodes_an_image_again(workspace):
    metrics, names = [], None
    for overrides, upto, expected in CHANGES:
        done = workspace.changed(*overrides, upto=upto)
        assert [stage for stage in done if stage != "prepare"] == expected, overrides
        head = read_adapted(workspace.path / "data/work/head")
        names = names or head.class_names
        assert head.class_names == names
        found = json.loads((workspace.path / "results/metrics.json").read_text())
        metrics.append((found["id"]["accuracy"], found["mean"]["auroc"]))
    assert len(set(metrics[:3])) == 3
    # Negative labels join the head, and change nothing of it.
    assert metrics[3][0] == metrics[2][0]
    assert head.arrays["negative_weight"].shape == (2, 8)
    assert not (workspace.path / "data/work/adapting/state").exists()
