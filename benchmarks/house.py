"""Statistics of the source: modules and lines of each room, longest functions, repeated lines.

    python benchmarks/house.py                 print the statistics of this checkout
    python benchmarks/house.py --beside DIR    those of another checkout beside them

Only the source is read; nothing of it is imported. A repeated run is a run of six or more lines
that stands at two places, blank lines, comments and docstrings left out.
"""

import argparse
import ast
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

#: Lines of a run that counts as repeated.
RUN = 6
#: Longest functions that are listed.
LISTED = 10


class Function(NamedTuple):
    """A function with its length in lines, the docstring not counted."""

    lines: int
    name: str


class House(NamedTuple):
    """What is known of one checkout.

    Attributes:
        rooms: Modules and lines of code of each folder of `ltood/`, and of `stages`.
        files: Lines of each file.
        functions: All functions, the longest first.
        num_repeats: Repeated runs of lines.
    """

    rooms: dict[str, tuple[int, int]]
    files: dict[str, int]
    functions: list[Function]
    num_repeats: int

    def share(self, room: str) -> float:
        """Share of a room's lines in those of all, a fraction."""
        return self.rooms[room][1] / sum(lines for _, lines in self.rooms.values())


def survey(root: Path) -> House:
    """Read the source of a checkout."""
    rooms: dict[str, list[int]] = defaultdict(list)
    files: dict[str, int] = {}
    functions: list[Function] = []
    runs: Counter[tuple[str, ...]] = Counter()
    for path in sorted([*root.glob("ltood/**/*.py"), *root.glob("stages/*.py")]):
        where = path.relative_to(root)
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        files[str(where)] = len(text.splitlines())
        rooms[_room(where)].append(files[str(where)])
        functions += _functions(tree, where)
        code = _code(text, tree)
        runs.update({tuple(code[i : i + RUN]) for i in range(len(code) - RUN + 1)})
    repeated = sum(count - 1 for count in runs.values() if count > 1)
    return House(
        {name: (len(lines), sum(lines)) for name, lines in sorted(rooms.items())},
        files,
        sorted(functions, reverse=True),
        repeated,
    )


def _room(where: Path) -> str:
    if where.parts[0] == "stages":
        return "stages"
    return where.parts[1] if len(where.parts) > 2 else "(files of ltood)"


def _functions(tree: ast.Module, where: Path) -> list[Function]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if first:
                length = (node.end_lineno or 0) - first[0].lineno + 1
                found.append(Function(length, f"{where.with_suffix('')}.{node.name}"))
    return found


def _code(text: str, tree: ast.Module) -> list[str]:
    """Lines without blank ones, comments, docstrings and imports."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, ast.Import | ast.ImportFrom):
            skipped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = (line.strip() for n, line in enumerate(text.splitlines(), 1) if n not in skipped)
    return [line for line in lines if line and not line.startswith("#")]


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--beside", type=Path, help="another checkout, shown in front")
    given = parser.parse_args()
    here = survey(Path(__file__).resolve().parents[1])
    houses = [survey(given.beside), here] if given.beside else [here]
    titles = ["before", "now"][-len(houses) :]
    print("| room |", " | ".join(f"modules {t} | lines {t} | share {t}" for t in titles), "|")
    print("|---|" + "---:|" * 3 * len(houses))
    for room in sorted({room for house in houses for room in house.rooms}):
        cells = []
        for house in houses:
            if room not in house.rooms:
                cells += ["-"] * 3
                continue
            modules, lines = house.rooms[room]
            cells += [str(modules), f"{lines:,}", f"{100 * house.share(room):.1f} %"]
        print(f"| {room} |", " | ".join(cells), "|")
    for title, house in zip(titles, houses, strict=True):
        largest = max(house.files, key=lambda name: house.files[name])
        print(
            f"\n{title}: {len(house.files)} modules, {sum(house.files.values()):,} lines; largest "
            f"file {largest} with {house.files[largest]}; {len(house.functions):,} functions, "
            f"{sum(f.lines > 50 for f in house.functions)} over 50 lines; "
            f"{house.num_repeats} repeated runs of {RUN} lines\n"
        )
        for function in house.functions[:LISTED]:
            print(f"- {function.lines} lines: `{function.name}`")


if __name__ == "__main__":
    main()
