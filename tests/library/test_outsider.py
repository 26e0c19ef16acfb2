"""What somebody writes who has a timm model and a folder of images: docs/from-your-model.md."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "from-your-model.md"


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Folders of small images: three classes to train and test on, and two OOD sets."""
    from PIL import Image

    rng = np.random.default_rng(0)
    sets = {"train": 12, "val": 6, "test": 6}
    folders = [(f"{split}/{name}", rows) for split, rows in sets.items() for name in "abc"]
    for folder, rows in [*folders, ("ood/noise/x", 8)]:
        (tmp_path / "photos" / folder).mkdir(parents=True)
        shade = 60 * (ord(folder[-1]) % 4)
        for row in range(rows):
            pixels = (rng.integers(0, 60, (40, 40, 3)) + shade).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / folder / f"{row}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_script_of_the_page(pictures, capsys):
    pytest.importorskip("timm")
    script = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert len([line for line in script.splitlines() if line.strip()]) <= 15
    exec(compile(script, str(PAGE), "exec"), {})
    assert (pictures / "detector.safetensors").is_file()
    shown = capsys.readouterr().out
    assert "knn" in shown
    assert "noise" in shown
