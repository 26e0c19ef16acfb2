"""Write every text that a user may read to tests/messages.txt, for review as prose.

python tests/messages.py           write the file
python tests/messages.py --check   exit 1 if it is not up to date

Collected are the texts of errors, warnings, logs, prints and help of `ltood/` and `stages/`: every
string of three words or more that is not a docstring, and the docstrings of commands, which their
help shows. Parts that are filled in stand in braces.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = Path(__file__).with_name("messages.txt")
#: Fewer words than this are names, keys and formats.
LEAST_WORDS = 3


def main() -> int:
    """Write or check; returns the exit code."""
    text = collect()
    if "--check" in sys.argv[1:]:
        same = OUT.is_file() and OUT.read_text(encoding="utf-8") == text
        print("up to date" if same else "out of date: run python tests/messages.py")
        return 0 if same else 1
    OUT.write_text(text, encoding="utf-8")
    return 0


def collect() -> str:
    """All texts, by folder and file, in the order of the alphabet."""
    blocks = []
    for path in sorted([*ROOT.glob("ltood/**/*.py"), *ROOT.glob("stages/**/*.py")]):
        found = sorted(set(texts(ast.parse(path.read_text(encoding="utf-8")), path)))
        if found:
            lines = "".join(f"- {text}\n" for text in found)
            blocks.append(f"{path.relative_to(ROOT).as_posix()}\n{lines}")
    return "\n".join(blocks)


def texts(tree: ast.Module, path: Path) -> Iterator[str]:
    """Texts of one file."""
    is_command = path.parent.name == "cli"
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if node.body and is_docstring(node.body[0]):
                skipped.update(ast.walk(node.body[0]))
                shown = is_command and isinstance(node, ast.FunctionDef) and node.name[0] != "_"
                if shown and node.args.args and has_help(node):
                    yield " ".join((ast.get_docstring(node) or "").split())
        elif is_docstring(node):  # A string that stands alone does nothing.
            skipped.update(ast.walk(node))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            skipped.update(ast.walk(node))
            yield from long_enough(template(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from long_enough(node.value)


def is_docstring(node: ast.AST) -> bool:
    """Whether a statement is a string and nothing else."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def has_help(node: ast.FunctionDef) -> bool:
    """Whether the parameters of a function are those of a command."""
    return any("typer" in ast.unparse(arg) or "Annotated" in ast.unparse(arg)
               for arg in node.args.args)  # fmt: skip


def template(node: ast.JoinedStr) -> str:
    """An f-string with the names of what is filled in."""
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
        for part in node.values
        if isinstance(part, ast.Constant | ast.FormattedValue)
    )


def long_enough(text: str) -> Iterator[str]:
    """The text in one line, if it is more than a name, a pattern or a format."""
    line = " ".join(text.split())
    words = [word for word in line.split() if any(letter.isalpha() for letter in word)]
    if len(words) >= LEAST_WORDS and "\\" not in line and "(?" not in line:
        yield line


if __name__ == "__main__":
    sys.exit(main())
