"""Nothing is drawn without a seed: every draw in the code names where its numbers come from."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Draws of torch that take a generator.
DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"}
#: Generators of NumPy, which must be given a seed.
SOURCES = {"default_rng", "PCG64", "Philox", "SeedSequence", "Generator", "RandomState"}
#: Files that draw initial weights, as layers do: training has seeded torch before it builds them.
WEIGHTS = {"recipes/_outlier_class.py", "losses/implicit_semantic_augmentation.py"}


def unseeded(tree):
    """Calls that draw from a generator that nobody has seeded, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if "random" in names or getattr(node, "module", None) == "random":
                yield node.lineno, "random"
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner, name = ast.unparse(node.func.value), node.func.attr
        keywords = {keyword.arg for keyword in node.keywords}
        if owner == "torch" and name in DRAWS and "generator" not in keywords:
            yield node.lineno, f"torch.{name}"
        if owner == "torch" and name == "Generator":
            continue  # Without manual_seed it has a fixed seed.
        if owner in {"np.random", "numpy.random"} and (name not in SOURCES or not node.args):
            yield node.lineno, f"np.random.{name}"


def test_every_draw_names_its_seed():
    found = {}
    for path in sorted((ROOT / "ltood").rglob("*.py")):
        name = path.relative_to(ROOT / "ltood").as_posix()
        calls = list(unseeded(ast.parse(path.read_text(encoding="utf-8"))))
        if calls:
            found[name] = calls
    assert set(found) == WEIGHTS, found


def test_a_draw_without_a_seed_is_found():
    lines = [
        "import random",
        "np.random.default_rng()",
        "np.random.default_rng([seed, 1])",
        "np.random.permutation(3)",
        "torch.randperm(3)",
        "torch.rand(3, generator=generator)",
    ]
    found = {line for line, _ in unseeded(ast.parse("\n".join(lines)))}
    assert found == {1, 2, 4, 5}
