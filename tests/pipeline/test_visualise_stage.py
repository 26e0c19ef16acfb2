"""The visualise stage by itself, where there is nothing to draw."""

import subprocess
import sys

import numpy as np

from ltood.pipeline import _shell
from ltood.preparing.prepare import prepare
from ltood.store.adapted import write_adapted
from ltood.store.regions import read_regions
from tests import prompt_samples
from tests.image_samples import TinyImages

MARKER = """
import sys
from stages.visualise import main
main(standalone_mode=False)
assert not {"torch", "PIL"} & sys.modules.keys()
"""


def test_nothing_to_draw_is_noted_quietly_without_torch_and_images(tmp_path):
    path = tmp_path / _shell.FEATURES
    path.parent.mkdir(parents=True)
    splits = prompt_samples.random_splits(np.random.default_rng(0), 3)
    prompt_samples.write_store(path, splits, ["cat", "dog", "emu"])
    prepare(TinyImages(), "tiny", {}, tmp_path / _shell.PREPARED)
    write_adapted(tmp_path / _shell.HEAD, None)
    written = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", MARKER],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout + done.stderr == ""
        folder = tmp_path / _shell.REGIONS
        assert read_regions(folder) is None
        written.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert written[0] == written[1]
