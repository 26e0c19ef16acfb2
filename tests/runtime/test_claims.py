import subprocess
import sys

from ltood.runtime.claims import claim

OTHER = """
import sys
from ltood.runtime.claims import claim
print(claim(open(sys.argv[1], "ab")))
"""


def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "lock"

    def other():
        run = subprocess.run([sys.executable, "-c", OTHER, path], capture_output=True, check=True)
        return run.stdout.split()[0] == b"True"

    with path.open("ab") as file:
        assert claim(file)
        assert not other()
    assert other()
