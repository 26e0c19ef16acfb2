import subprocess
import sys
from pathlib import Path

from ltood.core.registry import available, source_file

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "make_entries.py"


def test_the_page_of_entries_is_up_to_date():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_entry_of_stage_two_has_its_formula():
    """In the docstring of its module, after a line "Formula:"; the site shows it."""
    lacking = [
        f"{kind}/{name}"
        for kind in ("methods", "calibrators", "normalisers")
        for name in available(kind)
        if name != "none" and "\nFormula:\n    " not in source_file(kind, name).read_text("utf-8")
    ]
    assert lacking == []
