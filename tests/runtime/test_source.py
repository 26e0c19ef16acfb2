import ast
from pathlib import Path

import pytest

from ltood.runtime import source
from ltood.runtime.source import closure, companions, module_file, normal_form, read_source

#: Source and what remains of it.
NORMAL = {
    "comment": ("x = 1  # why\n# more\n", "x = 1\n"),
    "comment at the end without a newline": ("x = 1  # why", "x = 1\n"),
    "blank lines and blanks at ends": ("x = 1 \t\n\n   \ny = 2\n\n", "x = 1\ny = 2\n"),
    "line ends of another system": ("x = 1\r\n# a\r\ny = 2\r\n", "x = 1\ny = 2\n"),
    "docstrings": (
        '"""A."""\nclass A:\n    """B."""\n\n    def f(self):\n        \'\'\'C\n        D.\'\'\'\n'
        "        return 1\n",
        "class A:\n    def f(self):\n        return 1\n",
    ),
    "docstring of a nested function": (
        "def f():\n    def g():\n        'G.'\n        return 2\n    return g\n",
        "def f():\n    def g():\n        return 2\n    return g\n",
    ),
    "docstring after a decorator": (
        "@d  # a\ndef f():\n    'F.'\n    x\n",
        "@d\ndef f():\n    x\n",
    ),
    "docstring in pieces": ('def f():\n    ("a"  # b\n     "c")\n    x\n', "def f():\n    x\n"),
    "docstring on the line of its function": ("def f(): 'F.'\n", "def f():\n"),
    "text about an attribute": ("x = 1\n'About x.'\ny = 2\n", "x = 1\ny = 2\n"),
    "statements on one line": ("'A.'; x = 1; y = 2  # z\n", "; x = 1; y = 2\n"),
    "mark in a string": ("x = '# no comment'  # one\n", "x = '# no comment'\n"),
    "mark in a text of several lines": (
        'x = """a  \n\n# b\n"""  # c\n',
        'x = """a  \n\n# b\n"""\n',
    ),
    "escaped quotes": ("x = 'a\\'#b'  # c\ny = \"\\\\\"  # d\n", "x = 'a\\'#b'\ny = \"\\\\\"\n"),
    "raw strings": ("x = r'\\d#'  # a\n", "x = r'\\d#'\n"),
    "bytes": ("x = b'#'  # a\n", "x = b'#'\n"),
    "quotes within others": ('x = "it\'s #1"  # a\n', 'x = "it\'s #1"\n'),
    "triple quotes within others": ("x = \"'''#\"  # a\n", "x = \"'''#\"\n"),
    "f-strings": (
        "x = f'{a:#x} # {b[\"c\"]!r} {{#}}'  # d\ny = f'''{a}\n  # {b}'''\n",
        "x = f'{a:#x} # {b[\"c\"]!r} {{#}}'\ny = f'''{a}\n  # {b}'''\n",
    ),
    "quote in a comment": ("x = 1  # it's\ny = 2  # \"\n", "x = 1\ny = 2\n"),
    "letters beyond ASCII": (
        "x = 'ä#'  # ö\ndef f():\n    'Ü'\n    x\n",
        "x = 'ä#'\ndef f():\n    x\n",
    ),
    "continued lines": ("x = 1 + \\\n    2  # a\n", "x = 1 + \\\n    2\n"),
    "strings joined over lines": ("x = ('a'  # b\n     'c')\n", "x = ('a'\n     'c')\n"),
}


@pytest.mark.parametrize(("given", "left"), NORMAL.values(), ids=NORMAL.keys())
def test_normal_form(given, left):
    assert normal_form(given.encode()).decode() == left


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1\n", "x = 2\n"),
        ("x = 'a '\n", "x = 'a'\n"),
        ('x = """a\n\nb"""\n', 'x = """a\nb"""\n'),
        ("if x:\n    y\n    z\n", "if x:\n    y\nz\n"),
        ("x = 'a'\n", "x = f'a'\n"),
        ("x = 1 \\\n\n-y\n", "x = 1 \\\n-y\n"),
        ("x = '#'\n", "x = ''\n"),
    ],
)
def test_what_may_behave_otherwise_stays_apart(one, other):
    assert normal_form(one.encode()) != normal_form(other.encode())


@pytest.mark.parametrize(
    "name", ["ltood.core.prior", "ltood.reporting.page", "ltood.pipeline.train"]
)
def test_the_normal_form_of_real_code_is_the_same_program(name):
    """Tree for tree, with the texts that stand alone taken out."""
    path = module_file(name)

    class Silent(ast.NodeTransformer):
        def visit_Expr(self, node):
            is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            return None if is_text else node

    def tree(text: bytes) -> str:
        return ast.dump(Silent().visit(ast.parse(text)))

    assert tree(read_source(path).text) == tree(path.read_bytes())


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Packages of a few modules."""
    monkeypatch.setattr(source, "ROOT", tmp_path)
    files = {
        "ltood/__init__.py": "",
        "ltood/a/__init__.py": "import ltood.b.around\n",
        "ltood/a/top.py": "from ltood.b import one\nimport numpy as np\n",
        "ltood/a/late.py": "def f():\n    from ltood.b.two import g\n    import torch.nn\n",
        "ltood/a/nested.py": (
            "try:\n    pass\nexcept E:\n    match x:\n        case 1:\n"
            "            from . import top\n"
            "with a:\n    for b in c:\n        from ..b import two\n"
        ),
        "ltood/a/typed.py": (
            "from typing import TYPE_CHECKING\nimport typing\nif TYPE_CHECKING:\n"
            "    from ltood.b import one\nelse:\n    from ltood.b import two\n"
            "if typing.TYPE_CHECKING:\n    import torch\n"
        ),
        "ltood/b/__init__.py": "thing = 1\n",
        "ltood/b/around.py": "",
        "ltood/b/one.py": "from ltood.b import thing\nNAME = 'one.css'\n",
        "ltood/b/two.py": "import ltood.b.one\n",
        "ltood/b/one.css": "",
        "ltood/b/two.css": "",
        "ltood/c/__init__.py": "",
        "ltood/c/run.py": "import ltood.a.late\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


AROUND_A = {"ltood", "ltood.a", "ltood.b", "ltood.b.around"}


@pytest.mark.parametrize(
    ("root", "names"),
    [
        ("ltood.b.around", {"ltood", "ltood.b", "ltood.b.around"}),
        ("ltood.a.top", {*AROUND_A, "ltood.a.top", "ltood.b.one"}),
        ("ltood.a.late", {*AROUND_A, "ltood.a.late", "ltood.b.two", "ltood.b.one"}),
        (
            "ltood.a.nested",
            {*AROUND_A, "ltood.a.nested", "ltood.a.top", "ltood.b.two", "ltood.b.one"},
        ),
        ("ltood.a.typed", {*AROUND_A, "ltood.a.typed", "ltood.b.two", "ltood.b.one"}),
        (
            "ltood.c.run",
            {*AROUND_A, "ltood.c", "ltood.c.run", "ltood.a.late", "ltood.b.two", "ltood.b.one"},
        ),
    ],
)
def test_closure(house, root, names):
    assert set(closure((root,))) == names


def test_what_is_left_out_leads_nowhere(house):
    assert set(closure(("ltood.a.late",), frozenset({"ltood.b.two", "ltood.a"}))) == {
        "ltood",
        "ltood.a.late",
    }


def test_libraries_are_those_imported(house):
    assert read_source(house / "ltood/a/top.py").libraries == {"numpy"}
    assert read_source(house / "ltood/a/late.py").libraries == {"torch"}
    assert read_source(house / "ltood/a/typed.py").libraries == {"typing"}


def test_files_beside_a_module_are_those_it_names(house):
    found = companions("ltood.b.one", read_source(house / "ltood/b/one.py"))
    assert found == {"ltood/b/one.css": house / "ltood/b/one.css"}


def test_unknown_modules_are_named(house):
    with pytest.raises(ModuleNotFoundError, match=r"ltood\.a\.missing"):
        closure(("ltood.a.missing",))


def test_a_changed_file_is_read_again(house):
    path = Path(house / "ltood/b/two.py")
    before = read_source(path)
    assert read_source(path) is before
    path.write_text("import ltood.b.around\n")
    assert read_source(path).imports == {"ltood.b.around"}


@pytest.fixture
def later(house, monkeypatch):
    """Makes this process know of sources only what a file brings it; returns what it parses."""

    def forget(path: Path) -> list[bytes]:
        parsed, parse = [], source._parsed

        def noted(raw: bytes, package: str) -> list[str]:
            parsed.append(raw)
            return parse(raw, package)

        source._read.cache_clear()
        monkeypatch.setattr(source, "_found", {})
        monkeypatch.setattr(source, "_recalled", {})
        monkeypatch.setattr(source, "_parsed", noted)
        source.recall(path)
        return parsed

    return forget


ROOTS = ("ltood.a.nested", "ltood.b.one")


def test_what_was_found_is_not_parsed_again(house, tmp_path, later):
    path = tmp_path / "known.json"
    later(path)
    before = closure(ROOTS)
    source.remember(path)
    parsed = later(path)
    assert closure(ROOTS) == before
    assert parsed == []
    (house / "ltood/b/two.py").write_text("import ltood.c.run\n")
    assert "ltood.c.run" in closure(ROOTS)
    assert b"import ltood.c.run\n" in parsed


def test_a_module_added_later_is_found_in_remembered_imports(house, tmp_path, later):
    path = tmp_path / "known.json"
    later(path)
    assert "ltood.b.thing" not in closure(ROOTS)
    source.remember(path)
    (house / "ltood/b/thing.py").write_text("")
    later(path)
    assert "ltood.b.thing" in closure(ROOTS)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"rule": ["of", "3.9"], "sources": {}}'])
def test_what_cannot_be_recalled_is_parsed(house, tmp_path, later, text):
    path = tmp_path / "known.json"
    path.write_text(text)
    parsed = later(path)
    assert set(closure(("ltood.b.around",))) == {"ltood", "ltood.b", "ltood.b.around"}
    assert len(parsed) == 3
