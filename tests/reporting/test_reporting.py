"""The report: self-contained, deterministic, escaped, complete, and honest about its inputs."""

import copy
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from click.testing import CliRunner

from ltood.core.errors import DataError, LtoodError
from ltood.evaluation.measures import bootstrap, breakdown, evaluate, write_metrics
from ltood.metrics import METRICS
from ltood.reporting import content, figures, panels, tables, wording
from ltood.reporting.write import read_leaderboard, read_metrics, write_report
from ltood.store.regions import RegionSheet, write_regions
from ltood.store.scores import ScoreSplit, ScoreWriter

NASTY = "<script>alert('x')</script> & \"co\""


class MemoryStore:
    """Scores in memory with the interface of a score store."""

    def __init__(self, parts, attributes):
        self.parts, self.attributes = parts, attributes

    @property
    def splits(self):
        return list(self.parts)

    def split(self, name):
        return self.parts[name]


def scores_of(rng, mean, rows, labels, num_classes):
    guesses = rng.integers(0, num_classes, rows)
    predictions = np.where((rng.random(rows) < 0.7) & (labels >= 0), labels, guesses)
    scores = rng.normal(mean, 1.0, rows).astype(np.float32)
    return ScoreSplit(scores, predictions, labels, np.arange(rows))


def make_store(num_classes=10, names=None, sets=("near", "far", "odd", "even")):
    rng = np.random.default_rng(7)
    counts = (500 * 0.02 ** (np.arange(num_classes) / max(num_classes - 1, 1))).astype(int)
    labels = np.arange(400) % num_classes
    parts = {"test": scores_of(rng, 0.0, 400, labels, num_classes)}
    for number, name in enumerate(sets):
        labels = np.full(120, -1)
        if number == 1:
            labels[:20] = 2 % num_classes
        parts[f"ood_{name}"] = scores_of(rng, 1.0 + number, 120, labels, num_classes)
    attributes = {
        "method": {"name": "himplos", "settings": {"percentile": 60}, "in_use": {"clip": 1.625}},
        "calibrator": {"name": "patt", "settings": {"official_sum": False}, "in_use": {}},
        "normaliser": {"name": "none", "settings": {}, "in_use": {}},
        "class_counts": counts.tolist(),
        "class_names": list(names or (f"class {row}" for row in range(num_classes))),
        "features_fingerprint": "9f2c" * 16,
        "provenance": {
            "dataset": {"name": "demo", "settings": {"imbalance_ratio": 0.02}},
            "backbone": "cifar_resnet",
            "checkpoint": "3e" * 32,
            "versions": {"torch": "2.15"},
            "transform": ["resize 32", {"mean": [0.5, 0.25]}],
        },
    }
    return MemoryStore(parts, attributes)


@pytest.fixture(scope="module")
def store():
    return make_store()


@pytest.fixture(scope="module")
def pieces(store):
    return evaluate(store), breakdown(store), bootstrap(store, samples=20)


LEADERBOARD = [
    {"calibrator": "none", "method": "msp", "normaliser": "none", "seconds": 0.25, "auroc": 0.5},
    {"calibrator": "patt", "method": "himplos", "normaliser": "none", "mean": {"auroc": 0.9}},
]


@pytest.fixture(scope="module")
def page(store, pieces, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "new" / "report.html"
    write_report(out, store, *pieces, LEADERBOARD)
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    return out.read_text(encoding="utf-8")


class Elements(HTMLParser):
    """All elements of a page, and the text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.found, self.texts, self.data, self._within = [], [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag):
        self._within = ""

    def handle_data(self, data):
        if self._within == "script":
            self.data += data
        elif self._within != "style":
            self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


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
    assert elements.all("script") == [{"type": "application/json", "id": "ltood-data"}]
    policy = next(meta for meta in elements.all("meta") if "http-equiv" in meta)
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert len(page.encode()) < 2**20


def test_regions_stand_in_the_page_itself(store, pieces, tmp_path):
    names = ("cat", NASTY)
    sheet = RegionSheet("9f2c" * 16, "test", (0, 7), names, (0.25, 1.0), 2, 10, b"\x89PNG")
    write_report(tmp_path / "report.html", store, *pieces, regions=sheet)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    elements = Elements(page)
    (picture,) = elements.all("img")
    assert picture["src"] == "data:image/png;base64,iVBORw=="
    assert picture["alt"].endswith(f"row 0 (cat): 25 %; row 7 ({NASTY}): 100 %.")
    assert NASTY not in page
    assert "for which 2 or more of the 10 classes are likelier" in " ".join(elements.texts)
    policy = next(meta for meta in elements.all("meta") if "http-equiv" in meta)
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    targets = {link["href"] for link in elements.all("a")}
    assert "#regions" in targets
    assert {"id": "regions"} in elements.all("section")


def test_regions_of_other_features_are_refused(store, pieces, tmp_path):
    sheet = RegionSheet("77" * 32, "test", (0,), ("cat",), (0.5,), 2, 10, b"")
    with pytest.raises(
        DataError, match=r"regions were drawn from features 777777777777… but .* 9f2c"
    ):
        write_report(tmp_path / "report.html", store, *pieces, regions=sheet)
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
    pictures = elements.all("svg")
    assert len(pictures) == 2 + 3 * 4 + 2
    assert all(picture["role"] == "img" and picture["aria-label"] for picture in pictures)
    assert len({picture["aria-label"] for picture in pictures}) == len(pictures)
    assert all(heading.get("scope") for heading in elements.all("th"))
    assert elements.all("html") == [{"lang": "en"}]


def test_every_set_with_every_value_is_shown(page, pieces):
    metrics, _, intervals = pieces
    for name, values in {**metrics["ood"], "Mean": metrics["mean"]}.items():
        row = re.search(rf'<th scope="row">{name}</th>(.*?)</tr>', page, re.S)[1]
        shown = [cell.strip() for cell in re.findall(r"<td[^>]*>([\d.,]+)", row)]
        expected = [
            f"{100 * values[column.key]:.2f}"
            if column.key in METRICS
            else f"{values[column.key]:,.0f}"
            for column in (*METRICS.values(), *wording.COUNTS)
        ]
        assert shown == expected
    bounds = intervals["ood"]["near"]["auroc"]
    assert f"<small>[{100 * bounds['low']:.2f}, {100 * bounds['high']:.2f}]</small>" in page
    assert f"95 % interval [{100 * intervals['mean']['auroc']['low']:.2f}" in page
    for name in metrics["ood"]:
        assert f"<h3>{name}</h3>" in page


def test_configuration_and_provenance_are_shown(page):
    text = " ".join(" ".join(Elements(page).texts).split())
    assert "patt + himplos on demo" in text
    assert "recipe not recorded" in text
    for words in ("percentile 60", "clip 1.625", "official_sum False", "imbalance_ratio 0.02"):
        assert words in text
    assert "feature store " + "9f2c" * 16 in text
    assert "torch 2.15" in text
    assert "resize 32," in text
    assert "0.5, 0.25" in text


def test_origins_are_found_where_they_are_recorded():
    provenance = {
        "source": "extract",
        "dataset": {"name": "cifar", "imbalance_ratio": 0.01},
        "checkpoint": {"recipe": {"name": "pascl", "settings": {"k": 0.4}}, "dataset": "inner"},
    }
    attributes = {**make_store().attributes, "provenance": provenance}
    found = {slot.kind: (slot.name, slot.settings) for slot in content.slots(attributes)}
    assert found["dataset"] == ("cifar", {"imbalance_ratio": 0.01})
    assert found["recipe"] == ("pascl", {"k": 0.4})
    assert found["backbone"] == (None, {})
    assert found["method"] == ("himplos", {"percentile": 60})


def test_the_page_holds_its_data(page, pieces):
    data = json.loads(Elements(page).data)
    metrics, parts, intervals = pieces
    assert data["metrics"] == metrics
    assert data["breakdown"] == parts
    assert data["intervals"] == intervals
    assert data["leaderboard"] == LEADERBOARD
    assert data["slots"]["method"]["settings"] == {"percentile": 60}


def test_the_same_input_gives_the_same_bytes(store, pieces, page, tmp_path):
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 20.0, "svg.fonttype": "path", "axes.grid": False}):
        write_report(tmp_path / "again.html", store, *pieces, LEADERBOARD)
        assert mpl.rcParams["font.size"] == 20
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_everything_is_escaped(tmp_path):
    store = make_store(names=[NASTY, *"bcdefghi", "猫 $x^2$ _"], sets=("a<b & c", "_$y$"))
    store.attributes["method"] = {"name": NASTY, "settings": {NASTY: NASTY}, "in_use": {}}
    store.attributes["provenance"] = {"dataset": NASTY, NASTY: {NASTY: [NASTY]}}
    pieces = evaluate(store), breakdown(store)
    write_report(tmp_path / "r.html", store, *pieces, None, [{"method": NASTY}], NASTY)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    elements = Elements(page)
    assert len(elements.all("script")) == 1
    assert "<script>" not in page
    # Title, heading, slot and provenance, class table, leaderboard: the text itself is kept.
    assert sum(NASTY in text for text in elements.texts) >= 8
    assert json.loads(elements.data)["class_names"][0] == NASTY
    assert "猫 $x^2$ _" in page
    svg_texts = re.findall(r"<text[^>]*>([^<]*)</text>", page)
    assert {"a&lt;b &amp; c", " _$y$"} <= set(svg_texts)


def test_intervals_and_leaderboard_are_optional(store, pieces, tmp_path):
    write_report(tmp_path / "r.html", store, *pieces[:2])
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
    metrics = evaluate(store)
    write_report(tmp_path / "r.html", store, metrics, breakdown(store))
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
    write_report(tmp_path / "r.html", store, evaluate(store), breakdown(store))
    assert "AUROC 50.00" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_rows_with_a_class_count_as_id(store):
    near, far = panels.read_sides(store, ["near", "far"])
    assert (len(near.id_scores), len(near.ood_scores)) == (400, 120)
    assert (len(far.id_scores), len(far.ood_scores)) == (420, 100)
    np.testing.assert_array_equal(far.id_labels[400:], np.full(20, 2))
    np.testing.assert_array_equal(far.id_scores[400:], store.split("ood_far").scores[:20])


def test_stacked_histogram_reaches_the_sum_of_its_groups():
    bins = np.array([0.0, 1.0, 2.0])
    parts = {"many": np.array([0.5, 0.0]), "few": np.array([0.25, 0.25])}
    svg = figures.histogram(parts, np.array([0.0, 1.0]), bins, {"ood": 1.0, "id": 1.5}, "H")
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


def test_best_and_worst_follow_the_direction(pieces):
    rows = {row.heading: row.cells for row in tables.set_rows(pieces[0], None)}
    keys = [*METRICS, *(count.key for count in wording.COUNTS)]
    for key, best in (("auroc", max), ("fpr95_id_pos", min), ("ap_in", max)):
        values = {name: values[key] for name, values in pieces[0]["ood"].items()}
        ranks = {name: rows[name][keys.index(key)].rank for name in values}
        assert ranks[best(values, key=values.get)] == "best"
        assert sorted(ranks.values()) == ["", "", "best", "worst"]
    assert {cell.rank for cell in rows["Mean"]} == {""}
    assert {rows[name][keys.index("num_ood")].rank for name in values} == {""}


def test_two_sets_are_not_ranked(pieces):
    metrics = copy.deepcopy(pieces[0])
    for name in ("odd", "even"):
        del metrics["ood"][name]
    assert {cell.rank for row in tables.set_rows(metrics, None) for cell in row.cells} == {""}


def test_leaderboard_is_sorted_and_marks_this_run():
    current = {"calibrator": "patt", "method": "himplos", "normaliser": "none"}
    board = tables.leaderboard(
        [*LEADERBOARD, {"method": "knn", "id": {"accuracy": 0.5}, "settings": {"k": 1}}], current
    )
    assert [board.corner, *board.headings] == [
        *("Calibrator", "Method", "Normaliser", "Seconds", "AUROC", "Accuracy")
    ]
    lines = [[row.heading, *(cell.text for cell in row.cells)] for row in board.rows]
    dash = tables.ABSENT
    assert lines == [
        ["patt", "himplos", "none", dash, "90.00", dash],
        ["none", "msp", "none", "0.25", "50.00", dash],
        [dash, "knn", dash, dash, dash, "50.00"],
    ]
    assert [row.is_marked for row in board.rows] == [True, False, False]


def drop(part, *path):
    changed = copy.deepcopy(part)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return changed


def put(part, value, *path):
    changed = copy.deepcopy(part)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: drop(m, "mean"), "the metrics have no part 'mean'; they must hold id, ood"),
        (lambda m: drop(m, "ood", "far"), "of the OOD sets even, near, odd but the scores of even"),
        (lambda m: put(m, {}, "ood"), "of the OOD sets none but"),
        (lambda m: drop(m, "ood", "far", "ap_in"), "metrics of OOD set far lack ap_in; run"),
        (lambda m: drop(m, "mean", "auroc"), "the metrics of the mean lack auroc; run"),
        (lambda m: put(m, 7, "ood", "far", "num_ood"), "far count 27 images but the scores 120"),
        (lambda m: put(m, math.nan, "ood", "far", "auroc"), "auroc of far is nan; the report"),
        (lambda m: put(m, "0.5", "id", "accuracy"), "the accuracy is '0.5'; the report shows"),
        (lambda m: put(m, True, "mean", "auroc"), "mean auroc is True; the report shows finite"),
    ],
)
def test_metrics_that_do_not_fit_are_refused(store, pieces, tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        write_report(tmp_path / "r.html", store, change(pieces[0]), pieces[1])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: drop(b, "classes"), "the breakdown has no part 'classes'; it has false_alarms"),
        (lambda b: put(b, b["classes"][1:], "classes"), "has 9 classes, 10 names and 10 training"),
        (lambda b: drop(b, "false_alarms", "odd"), "has no false_alarms of odd; make it from"),
        (lambda b: drop(b, "missed_ood", "odd"), "has no missed_ood of odd; make it from"),
        (lambda b: {**b, "more": object()}, "cannot embed its data: Object of type object"),
        (lambda b: {**b, "more": math.inf}, "cannot embed its data: Out of range float"),
    ],
)
def test_breakdowns_that_do_not_fit_are_refused(store, pieces, tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        write_report(tmp_path / "r.html", store, pieces[0], change(pieces[1]))


def test_intervals_without_bounds_are_refused(pieces):
    with pytest.raises(DataError, match=r"interval of auroc of far is \[0, 1\]; it must hold low"):
        tables.set_rows(pieces[0], {"ood": {"far": {"auroc": [0, 1]}}})


def test_a_leaderboard_without_names_is_refused():
    with pytest.raises(DataError, match="the leaderboard rows hold no names; each row needs"):
        tables.leaderboard([{"auroc": 0.5}], {})


@pytest.mark.parametrize("kept", [("test",), ("ood_near", "ood_far"), ("train", "test")])
def test_scores_without_two_sides_are_refused(store, pieces, tmp_path, kept):
    bare = MemoryStore({name: store.parts.get(name) for name in kept}, store.attributes)
    with pytest.raises(DataError, match=f"have the splits {', '.join(kept)}; a report needs test"):
        write_report(tmp_path / "r.html", bare, *pieces)


@pytest.mark.parametrize("key", ["class_counts", "class_names", "provenance", "method"])
def test_scores_without_their_record_are_refused(store, pieces, tmp_path, key):
    attributes = {name: value for name, value in store.attributes.items() if name != key}
    bare = MemoryStore(store.parts, attributes)
    with pytest.raises(DataError, match=f"the scores do not record '{key}'; they were not written"):
        write_report(tmp_path / "r.html", bare, *pieces)


def test_a_place_that_cannot_be_written_is_named(store, pieces, tmp_path):
    with pytest.raises(LtoodError, match=r"cannot write .*: it is a folder"):
        write_report(tmp_path, store, *pieces)


def test_metrics_files_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "metrics.json"
    with pytest.raises(DataError, match=r"metrics.json is missing; run the evaluate stage first"):
        read_metrics(path)
    path.write_text("{")
    with pytest.raises(DataError, match=r"metrics.json is no JSON \(Expecting"):
        read_metrics(path)
    path.write_text("[]")
    with pytest.raises(DataError, match=r"metrics.json holds a list; it must be one JSON object"):
        read_metrics(path)


def test_the_leaderboard_is_read_with_the_method_first(tmp_path):
    path = tmp_path / "leaderboard.json"
    rows = [
        {"calibrator": "none", "mean": {"auroc": 0.5}, "method": "knn", "status": "ok"},
        {"calibrator": "none", "method": "vim", "reason": "too small", "status": "failed"},
    ]
    path.write_text(json.dumps({"rows": rows}))
    read = read_leaderboard(path)
    assert [list(row) for row in read] == [
        ["method", "calibrator", "mean"],
        ["method", "calibrator", "reason"],
    ]
    board = tables.leaderboard(read, {"method": "knn"})
    assert [row.heading for row in board.rows] == ["knn", "vim"]
    assert [row.is_marked for row in board.rows] == [True, False]
    assert "too small" in {cell.text for cell in board.rows[1].cells}


def test_a_leaderboard_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "leaderboard.json"
    with pytest.raises(DataError, match=r"leaderboard.json is missing; run the compare"):
        read_leaderboard(path)
    path.write_text("{}")
    with pytest.raises(DataError, match=r"leaderboard.json has no list of rows; run the compare"):
        read_leaderboard(path)


@pytest.fixture
def workplace(store, tmp_path, monkeypatch):
    """A folder as the pipeline leaves it before the report stage."""
    rows = {name: len(part) for name, part in store.parts.items()}
    path = tmp_path / "data" / "work" / "scores" / "final.zarr"
    path.parent.mkdir(parents=True)
    with ScoreWriter(path, rows, store.attributes) as writer:
        for name, part in store.parts.items():
            writer.append(name, part)
    write_metrics(tmp_path / "results" / "metrics.json", evaluate(store))
    leaderboard = json.dumps({"rows": LEADERBOARD})
    (tmp_path / "results" / "leaderboard.json").write_text(leaderboard)
    write_regions(tmp_path / "data" / "work" / "regions", "nothing to show")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_stage_writes_the_report(workplace):
    from stages.report import main

    result = CliRunner().invoke(main, [])
    assert result.exit_code == 0, result.output
    page = (workplace / "results" / "report.html").read_text(encoding="utf-8")
    assert "himplos" in page
    assert "All methods, percent" in page
    (workplace / "results" / "metrics.json").unlink()
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 1
    assert "error: results/metrics.json is missing; run the evaluate stage first." in result.output


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
    assert run.stderr == "wrote results/report.html\n"


def test_importing_it_loads_nothing_heavy():
    code = (
        "import sys, ltood.reporting; "
        "print([n for n in ('torch', 'matplotlib', 'jinja2', 'zarr') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
