"""The report: self-contained, deterministic, escaped, complete, and honest about its inputs."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from ltood.core.errors import DataError, LtoodError, StoreError
from ltood.deployment.sidecar import save_absence
from ltood.evaluation import comparison
from ltood.evaluation.binding import bind, write_bound
from ltood.evaluation.intervals import bootstrap
from ltood.evaluation.measures import Evaluation
from ltood.metrics import METRICS
from ltood.networks.checkpoint_files import CheckpointFiles, write_files
from ltood.reporting import content, tables, wording
from ltood.reporting.content import Pieces
from ltood.reporting.leaderboard import SLOTS
from ltood.reporting.threshold import Decision
from ltood.reporting.write import write_report
from ltood.showing.sheet import example_sheet
from ltood.store.adapted import write_adapted
from ltood.store.examples import write_examples
from ltood.store.regions import RegionSheet, write_regions
from ltood.store.scores import ScoreSplit, ScoreWriter
from tests.reporting.report_samples import (
    NASTY,
    ROWS,
    Elements,
    MemoryStore,
    board_of,
    board_row,
    make_store,
)

LEFT_OUT = {"status": "left out", "reason": NASTY}


@pytest.fixture(scope="module")
def store():
    return make_store()


@pytest.fixture(scope="module")
def evaluation(store):
    return Evaluation(store)


@pytest.fixture(scope="module")
def intervals(evaluation):
    return bootstrap(evaluation, samples=20)


@pytest.fixture(scope="module")
def page(evaluation, intervals, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "new" / "report.html"
    write_report(out, evaluation, intervals=intervals, leaderboard=board_of(ROWS))
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    return out.read_text(encoding="utf-8")


def test_the_page_loads_nothing(page):
    elements = Elements(page)
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\((.*?)\)", page))
    for tag, attributes in elements.found:
        assert "src" not in attributes, tag
        assert attributes.get("href", "#").startswith("#"), tag
    for tag in ("link", "img", "iframe", "object", "embed"):
        assert not elements.all(tag)
    assert elements.all("script") == [{"type": "application/json", "id": "ltood-data"}, {}]
    # The script of the page runs, and no other.
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    meta = next(meta for meta in elements.all("meta") if "http-equiv" in meta)
    assert meta["content"] == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    assert len(page.encode()) < 2**20


def test_regions_stand_in_the_page_itself(evaluation, tmp_path):
    names = ("cat", NASTY)
    sheet = RegionSheet("9f2c" * 16, "test", (0, 7), names, (0.25, 1.0), 2, 10, b"\x89PNG")
    write_report(tmp_path / "report.html", evaluation, pieces=Pieces(regions=sheet))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    elements = Elements(page)
    (image,) = elements.all("img")
    assert image["src"] == "data:image/png;base64,iVBORw=="
    assert image["alt"].endswith(f"row 0 (cat): 25 %; row 7 ({NASTY}): 100 %.")
    assert NASTY not in page
    assert "for which 2 or more of the 10 classes are likelier" in " ".join(elements.texts)
    policy = next(meta for meta in elements.all("meta") if "http-equiv" in meta)
    assert policy["content"].endswith("; img-src data:")
    targets = {link["href"] for link in elements.all("a")}
    assert "#regions" in targets
    assert {"id": "regions"} in elements.all("section")


def test_regions_of_other_features_are_refused(evaluation, tmp_path):
    sheet = RegionSheet("77" * 32, "test", (0,), ("cat",), (0.5,), 2, 10, b"")
    with pytest.raises(
        DataError, match=r"regions were drawn from features 777777777777… but .* 9f2c"
    ):
        write_report(tmp_path / "report.html", evaluation, pieces=Pieces(regions=sheet))
    assert not list(tmp_path.iterdir())


def test_links_and_ids_fit_together(page):
    elements = Elements(page)
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)
    assert targets
    assert set(targets) <= set(ids)


def test_colours_come_from_the_page(page):
    defined = set(re.findall(r"(--[\w]+):", page))
    assert set(re.findall(r"var\((--\w+)\)", page)) <= defined
    assert not re.search(
        r"(fill|stroke|color): #", "".join(re.findall(r"<svg.*?</svg>", page, re.S))
    )


def test_readers_who_do_not_see_it_are_told(page):
    elements = Elements(page)
    images = elements.all("svg")
    assert len(images) == 2 + 3 * 4 + 2
    assert all(image["role"] == "img" and image["aria-label"] for image in images)
    assert len({image["aria-label"] for image in images}) == len(images)
    assert all(heading.get("scope") for heading in elements.all("th"))
    assert elements.all("html") == [{"lang": "en"}]


def test_every_set_with_every_value_is_shown(page, evaluation, intervals):
    metrics = evaluation.metrics
    for name, values in {**metrics["ood"], "Mean": metrics["mean"]}.items():
        row = re.search(rf'<th scope="row">{name}</th>(.*?)</tr>', page, re.S)[1]
        shown = [cell.strip() for cell in re.findall(r"<td[^>]*>([\d.,]+)", row)]
        expected = [
            f"{100 * values[column.key]:.2f}"
            if column.key in METRICS
            else f"{values[column.key]:,.0f}"
            for column in (*METRICS.values(), *(wording.COUNTS if name != "Mean" else ()))
        ]
        assert shown == expected  # The mean of a number of images is a dash.
    bounds = intervals["ood"]["near"]["auroc"]
    assert f"<small>[{100 * bounds['low']:.2f}, {100 * bounds['high']:.2f}]</small>" in page
    assert f"95 % interval [{100 * intervals['mean']['auroc']['low']:.2f}" in page
    for name in metrics["ood"]:
        assert f"<h3>{name}</h3>" in page


def test_configuration_and_provenance_are_shown(page):
    text = " ".join(" ".join(Elements(page).texts).split())
    assert "PATT + HIMPLoS on Demo" in text
    assert "recipe not recorded" in text
    for words in ("percentile 60", "clip 1.625", "official_sum False", "imbalance_ratio 0.02"):
        assert words in text
    assert "feature store " + "9f2c" * 16 in text
    assert "torch 2.15" in text
    assert "resize 32," in text
    assert "0.5, 0.25" in text


@pytest.mark.parametrize(
    ("provenance", "name"),
    [
        ({"recipe": {"name": "pascl", "settings": {"k": 1}}}, "pascl"),
        # A head learned from text belongs to features of a network that was given.
        ({"recipe": {"name": "pretrained"}, "head": {"recipe": {"name": "locoop"}}}, "locoop"),
        ({"recipe": {"name": "pascl"}, "head": {"source": "import"}}, "pascl"),
        ({"training": {"recipe": {"name": "other"}}}, None),
        ({"source": "import"}, None),
    ],
)
def test_the_recipe_is_that_of_the_head(provenance, name):
    attributes = {**make_store().attributes, "provenance": provenance}
    found = {slot.kind: slot.name for slot in content.slots(attributes)}
    assert found["recipe"] == name
    assert found["method"] == "himplos"


@pytest.mark.parametrize(
    ("name", "settings", "title"),
    [
        ("timm_model", {"model": "resnet18"}, "resnet18"),
        ("wide_resnet", {"variant": "40-2"}, "Wide ResNet 40-2"),
        ("clip", {"model": "models/vit.json"}, "CLIP vit.json"),
        ("own_net", {"mean": [0.5]}, "own_net"),
    ],
)
def test_the_network_of_a_backbone_is_named(name, settings, title):
    provenance = {"backbone": {"name": name, "settings": settings}}
    attributes = {**make_store().attributes, "provenance": provenance}
    found = {slot.kind: slot for slot in content.slots(attributes)}
    assert found["backbone"].title == title
    assert found["method"].title == "HIMPLoS"


def test_settings_of_an_origin_are_shown():
    found = {slot.kind: slot for slot in content.slots(make_store().attributes)}
    assert found["dataset"].settings == {"imbalance_ratio": 0.02}
    assert (found["backbone"].name, found["backbone"].settings) == ("cifar_resnet", {})


def test_the_page_holds_its_data(page, evaluation, intervals):
    data = json.loads(Elements(page).data)
    assert data["metrics"] == evaluation.metrics
    assert data["breakdown"] == evaluation.breakdown
    assert data["intervals"] == intervals
    assert data["leaderboard"] == ROWS
    assert data["slots"]["method"]["settings"] == {"percentile": 60}


def test_the_same_input_gives_the_same_bytes(evaluation, intervals, page, tmp_path):
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 20.0, "svg.fonttype": "path", "axes.grid": False}):
        out = tmp_path / "again.html"
        write_report(out, evaluation, intervals=intervals, leaderboard=board_of(ROWS))
        assert mpl.rcParams["font.size"] == 20
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_everything_is_escaped(tmp_path):
    store = make_store(names=[NASTY, *"bcdefghi", "猫 $x^2$ _"], sets=("a<b & c", "_$y$"))
    store.attributes["method"] = {"name": NASTY, "settings": {NASTY: NASTY}, "in_use": {}}
    store.attributes["provenance"] = {"dataset": NASTY, NASTY: {NASTY: [NASTY]}}
    board = board_of([board_row(NASTY, 0.5)], [{**board_row(NASTY, 0), **LEFT_OUT}])
    write_report(tmp_path / "r.html", Evaluation(store), leaderboard=board, title=NASTY)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    elements = Elements(page)
    assert len(elements.all("script")) == 2
    assert page.count("<script>") == 1
    # Title, heading, slot and provenance, class table, leaderboard: the text itself is kept.
    assert sum(NASTY in text for text in elements.texts) >= 8
    assert json.loads(elements.data)["class_names"][0] == NASTY
    assert "猫 $x^2$ _" in page
    svg_texts = re.findall(r"<text[^>]*>([^<]*)</text>", page)
    assert {"a&lt;b &amp; c", " _$y$"} <= set(svg_texts)


def test_intervals_and_leaderboard_are_optional(evaluation, tmp_path):
    write_report(tmp_path / "r.html", evaluation)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "95 % interval" not in page
    assert "bootstrap" not in page
    assert "All methods" not in page
    assert json.loads(Elements(page).data)["leaderboard"] is None


@pytest.mark.parametrize(("num_classes", "sets"), [(1, ("one",)), (3, ("a", "b")), (150, "abc")])
def test_other_shapes(num_classes, sets, tmp_path):
    store = make_store(num_classes, sets=tuple(sets))
    test = store.parts["test"]
    keep = test.labels != num_classes - 1 if num_classes > 1 else test.labels == 0
    store.parts["test"] = ScoreSplit(
        test.scores[keep], test.predictions[keep], test.labels[keep], test.ids[keep]
    )
    write_report(tmp_path / "r.html", Evaluation(store))
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert len(page.encode()) < 2**20
    assert len(Elements(page).all("svg")) == 2 + 3 * len(sets) + 2
    if num_classes > 1:
        assert re.search(
            rf"class {num_classes - 1}</th>.*?<td class=\"\">{tables.ABSENT}</td>", page
        )


def test_equal_scores_have_a_histogram(tmp_path):
    store = make_store(sets=("same",))
    store.parts = {
        name: replace(part, scores=np.zeros_like(part.scores)) for name, part in store.parts.items()
    }
    write_report(tmp_path / "r.html", Evaluation(store))
    assert "AUROC 50.00" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_report_ranks_each_set_once(monkeypatch, tmp_path):
    ranked = []
    rank = comparison.rank

    def counted(*sides):
        ranked.append(sides)
        return rank(*sides)

    monkeypatch.setattr(comparison, "rank", counted)
    evaluation = Evaluation(make_store(sets=("near", "far")))
    pieces = {"intervals": bootstrap(evaluation, samples=2), "leaderboard": board_of(ROWS)}
    write_report(tmp_path / "r.html", evaluation, **pieces)
    assert len(ranked) == 2


def test_scores_without_test_rows_are_refused(store, tmp_path):
    kept = ("ood_near", "ood_far")
    bare = MemoryStore({name: store.parts.get(name) for name in kept}, store.attributes)
    with pytest.raises(StoreError, match=re.escape(f"(only {', '.join(kept)})")):
        write_report(tmp_path / "r.html", Evaluation(bare))
    assert not list(tmp_path.iterdir())


def test_scores_without_ood_sets_have_a_page_that_names_the_setting(store, tmp_path):
    provenance = {**store.attributes["provenance"], "dataset": {"name": "folder", "settings": {}}}
    attributes = {**store.attributes, "provenance": provenance}
    evaluation = Evaluation(MemoryStore({"test": store.parts["test"]}, attributes))
    description = {
        **{key: attributes[key] for key in ("features_fingerprint", *SLOTS)},
        "threshold": {"value": float(np.median(evaluation.test.scores))},
    }
    pieces = Pieces(
        examples=example_sheet(evaluation), decision=Decision(description, ("it is set.",))
    )
    board = board_of([])
    write_report(
        tmp_path / "r.html",
        evaluation,
        intervals=bootstrap(evaluation, samples=2),
        leaderboard=board,
        pieces=pieces,
    )
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.index("datasets.folder.ood") < page.index("<section id=")
    assert {f'id="{name}"' in page for name in ("sets", "curves", "methods")} == {False}
    assert {f'id="{name}"' in page for name in ("known", "examples", "tail")} == {True}
    assert "It is set." in page
    assert "NaN" not in page
    method = {**attributes["method"], "settings": {"other": 1}}
    for changed in ({"features_fingerprint": "0a" * 32}, {"method": method}):
        other = Decision({**description, **changed}, ())
        with pytest.raises(DataError, match="export"):
            write_report(tmp_path / "r.html", evaluation, pieces=Pieces(decision=other))


@pytest.mark.parametrize("key", ["class_counts", "class_names", "provenance", "method"])
def test_scores_without_their_record_are_refused(store, tmp_path, key):
    attributes = {name: value for name, value in store.attributes.items() if name != key}
    bare = MemoryStore(store.parts, attributes)
    with pytest.raises(LtoodError, match=key):
        write_report(tmp_path / "r.html", Evaluation(bare))


def test_a_place_that_cannot_be_written_is_named(evaluation, tmp_path):
    with pytest.raises(LtoodError, match="it is a folder"):
        write_report(tmp_path, evaluation)


SCORES = "data/work/scores/final.zarr"


def write_scores(path, store, checkpoint):
    rows = {name: len(part) for name, part in store.parts.items()}
    provenance = {**store.attributes["provenance"], "checkpoint": checkpoint}
    with ScoreWriter(path, rows, {**store.attributes, "provenance": provenance}) as writer:
        for name, part in store.parts.items():
            writer.append(name, part)


@pytest.fixture
def workplace(store, tmp_path, monkeypatch):
    """A folder as the pipeline leaves it before the report stage."""
    (tmp_path / SCORES).parent.mkdir(parents=True)
    # No network was trained and no head learned here, so that there are no epochs to show.
    write_scores(tmp_path / SCORES, store, {})
    write_adapted(tmp_path / "data" / "work" / "head", None)
    evaluation = Evaluation(store)
    metrics = bind(evaluation.metrics, scores=evaluation.fingerprint)
    write_bound(tmp_path / "results" / "metrics.json", metrics)
    write_bound(tmp_path / "results" / "leaderboard.json", board_of(ROWS))
    save_absence(tmp_path / "results" / "detector.json", "nothing sets a threshold")
    write_regions(tmp_path / "data" / "work" / "regions", "nothing to show")
    examples = example_sheet(evaluation)
    write_examples(tmp_path / "data" / "work" / "examples", examples)
    (tmp_path / "params.yaml").write_text("evaluation: {}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_stage_writes_the_report(workplace):
    from stages.report import main

    result = CliRunner().invoke(main, [])
    assert result.exit_code == 0, result.output
    page = (workplace / "results" / "report.html").read_text(encoding="utf-8")
    assert "himplos" in page
    assert "All methods, percent" in page
    assert 'id="training"' not in page
    epochs = (workplace / "results" / "training.csv").read_text()
    assert epochs == "epoch,loss,val_accuracy\n"  # nothing was learned, and DVC finds it
    assert "Missed: OOD images that look ID" in page
    assert "There is no detector: nothing sets a threshold." in page
    # The workplace has no records of stages, and none was made up.
    assert "When and where" not in page
    (workplace / "results" / "metrics.json").unlink()
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 1
    assert "error: results/metrics.json is missing; run the evaluate stage first." in result.output


@pytest.mark.parametrize("checkpoint", [{"fingerprint": "ab" * 32}, "resnet.pth"])
def test_the_stage_shows_the_epochs_of_the_network_behind_the_scores(
    workplace, store, checkpoint, monkeypatch
):
    from stages.report import main

    shutil.rmtree(workplace / SCORES)
    write_scores(workplace / SCORES, store, checkpoint)
    history = b"epoch,loss,val_accuracy\n1,2.0,0.5\n2,1.0,0.75\n"
    folder = workplace / "data" / "work" / "checkpoint"
    folder.mkdir()
    write_files(folder, CheckpointFiles({"fingerprint": "ab" * 32}, b"weights", history=history))
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 0, result.output
    page = (workplace / "results" / "report.html").read_text(encoding="utf-8")
    assert ('id="training"' in page) == (checkpoint != "resnet.pth")
    (folder / "history.csv").write_bytes(history.replace(b"0.75", b"0.95"))
    assert CliRunner().invoke(main, []).exit_code == (checkpoint != "resnet.pth")


def test_the_stage_refuses_metrics_of_other_scores_and_edited_ones(workplace, evaluation):
    from stages.evaluate import main as evaluate
    from stages.report import main as report

    path = workplace / "results" / "metrics.json"
    wanted = json.loads(path.read_text())
    path.unlink()
    assert CliRunner().invoke(evaluate, []).exit_code == 0
    assert json.loads(path.read_text())["ood"] == wanted["ood"]
    assert CliRunner().invoke(report, []).exit_code == 0
    write_bound(path, bind(evaluation.metrics, scores="0a" * 32))
    assert "scores 0a0a0a0a0a0a" in CliRunner().invoke(report, []).output
    path.write_text(path.read_text().replace('"accuracy": 0.', '"accuracy": 0.9'))
    assert "was edited" in CliRunner().invoke(report, []).output


def test_the_stage_needs_no_torch(workplace):
    code = (
        "import sys; from stages.report import main; main([], standalone_mode=False); "
        "assert 'torch' not in sys.modules; assert 'matplotlib.pyplot' not in sys.modules"
    )
    path = [entry for entry in sys.path if entry]
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {code}"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("wrote results/report.html;")


def test_importing_it_loads_nothing_heavy():
    code = (
        "import sys, ltood.reporting; "
        "print([n for n in ('torch', 'matplotlib', 'jinja2', 'zarr') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
