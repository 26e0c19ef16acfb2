"""Write the public names: the table in ltood/__init__.py, and their types in __init__.pyi.

python docs/make_names.py           write both
python docs/make_names.py --check   exit 1 if one is not up to date
"""

import re
import sys
from pathlib import Path

from ltood.core.registry import available, load

ROOT = Path(__file__).resolve().parent.parent
TABLE, TYPES = ROOT / "ltood" / "__init__.py", ROOT / "ltood" / "__init__.pyi"
#: Names beyond the entries, by their module below ltood.
OTHERS = {
    "ClassPrior": "core.prior",
    "ClassifierHead": "core.head",
    "LtoodError": "core.errors",
    "Pipeline": "library.pipeline",
    "calibrator": "library.entries",
    "compare": "library.comparing",
    "compare_runs": "library.runs",
    "evaluate": "library.evaluating",
    "extract": "library.extract",
    "load": "library.pipeline",
    "method": "library.entries",
    "normaliser": "library.entries",
    "open_features": "library.opening",
}


def names() -> dict[str, str]:
    """Module of each public name: every entry but "none", and the others."""
    found = {
        load(package, name).Entry.__name__: f"{package}.{name}"
        for package in ("methods", "calibrators", "normalisers")
        for name in available(package)
        if name != "none"
    }
    assert not found.keys() & OTHERS.keys()
    return dict(sorted({**found, **OTHERS}.items()))


def files() -> dict[Path, str]:
    """Both files as they must be."""
    public = names()
    rows = "".join(f'    "{name}": "{module}",\n' for name, module in public.items())
    code = TABLE.read_text(encoding="utf-8")
    table = re.sub(r"(?s)(?<=\n_NAMES = \{\n).*?(?=\}\n)", lambda _: rows, code, count=1)
    # Sorted as the linter wants imports to be.
    lines = sorted(
        (f"from ltood.{module} import {name} as {name}" for name, module in public.items()),
        key=lambda line: line.split()[1],
    )
    types = "\n".join(["# Written by docs/make_names.py.", *lines, "", "__version__: str"]) + "\n"
    return {TABLE: table, TYPES: types}


def main() -> int:
    """Write or check; returns the exit code."""
    wanted = files()
    if "--check" in sys.argv[1:]:
        same = all(p.is_file() and p.read_text("utf-8") == text for p, text in wanted.items())
        print("up to date" if same else "out of date: run python docs/make_names.py")
        return 0 if same else 1
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
