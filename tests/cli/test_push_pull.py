import shutil


def test_there_and_back(ltood, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = ltood("push", store, "there", "--licence", "mit").stdout
    assert "1 part sent, 0 there already" in shown
    assert 'license: "mit"' in (tmp_path / "there" / "README.md").read_text()
    assert "0 parts sent, 1 there already" in ltood("push", store, "there", "--check").stdout
    shown = ltood("pull", "there").stdout
    assert "features.zarr: features" in shown
    assert "1 of 1 part fetched" in shown
    assert "0 of 1 part fetched" in ltood("pull", "there", "features.zarr").stdout
    ltood("store", "verify", "features.zarr")


def test_other_scores_are_replaced_when_asked(ltood, store, scores, tmp_path):
    there, out = tmp_path / "there", tmp_path / "out.zarr"
    ltood("push", scores, there)
    shutil.copytree(store, out)
    assert "--overwrite" in ltood("pull", there, out, code=1).stderr
    ltood("pull", there, out, "--overwrite")
    assert "60 rows" in ltood("store", "verify", out).stdout


def test_refusals_are_one_line(ltood, store, tmp_path):
    for words in (
        ("push", tmp_path / "nothing.zarr", tmp_path / "there"),
        ("push", store, ""),
        ("pull", tmp_path / "nothing"),
        ("pull", tmp_path, ".."),
        ("pull", tmp_path, tmp_path / "a", "--fingerprint", "12345678"),
    ):
        error = ltood(*words, code=1).stderr
        assert error.startswith("error: ")
        assert error.count("\n") == 1
