import os
import subprocess
import sys

import pytest

from ltood.runtime.process import passive_omp_wait


def test_waiting_threads_sleep_unless_the_user_wants_otherwise(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    passive_omp_wait()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    passive_omp_wait()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


@pytest.mark.parametrize("stage", ["train", "extract"])
def test_heavy_stages_ask_for_it_before_torch_is_loaded(stage, tmp_path):
    code = (
        f"import os, sys; import stages.{stage} as stage\n"
        "try: stage.main([])\n"
        "except SystemExit as end: assert end.code == 1, end.code\n"
        "assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "PASSIVE\n"
    assert done.stderr.startswith("error: params.yaml does not exist; run from the folder")
