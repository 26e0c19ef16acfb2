import json

SIZES = ("--rows", 60, "--dim", 6, "--classes", 3, "--test-rows", 20, "--device", "cpu")


def test_methods_are_timed_and_what_does_not_fit_is_named(ltood):
    shown = ltood("bench", "--method", "knn", "--method", "gl_mcm", *SIZES).stdout
    head, knn, local = shown.splitlines()
    assert head.split() == ["method", "fit", "s", "score", "s", "rows", "/", "s"]
    assert knn.split()[0] == "knn"
    assert "left out" in local


def test_results_come_as_json_lines_too(ltood):
    shown = ltood("bench", "--method", "knn", "--method", "gl_mcm", *SIZES, "--json").stdout
    assert [json.loads(line)["method"] for line in shown.splitlines()] == ["knn", "gl_mcm"]
