"""The layering of the packages, read from their imports, and what importing them costs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A module imports those in entries before its own, and its own subpackage.
MINIGRAD = [["kernels"], ["archive"], ["table"], ["methods"], ["watch"], ["marks"], ["noise"],
            ["tensor"], ["define"], ["rules"], ["cotangents"], ["backprop"], ["tree"],
            ["transforms"],
            ["functions"], ["convolution"], ["pooling"], ["differences"], ["sketch"], ["conduct"],
            ["blame"], ["check"], ["nn"], ["optim"], ["debugging"], ["inspect"], ["explain"], [""],
            ["testing"]]
VAE = [["noise"], ["data"], ["distributions"], ["networks"], ["likelihoods"], ["flows"], ["models"],
       ["schedules"], ["objectives"], ["estimators"], ["evaluation"], ["uses"], ["training"],
       ["doctor"], ["priors"], ["posteriors"], ["exact"], ["lab"], ["progress", "figures"],
       ["report", "sklearn"], [""]]
FORBIDDEN = [  # (who, what): narrower than the order above
    ("minigrad.kernels", "minigrad", "minigrad.kernels"),
    ("minigrad.tree", "minigrad", None),
    ("minigrad.rules", "minigrad.backprop", None),
    ("vae.data", "minigrad", None),
    ("vae.data", "vae", "vae.data"),
    ("minigrad", "vae", None),
    ("minigrad", "scipy", "scipy.special"),
]
GENERATORS = {"Generator", "default_rng", "SeedSequence", "BitGenerator", "PCG64", "Philox"}


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(p): ast.parse(p.read_text(encoding="utf-8"), str(p))
           for package in ("minigrad", "vae") for p in files(package)}


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when a module is imported: no bodies of functions, no types."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from at_import(child)


def imports(nodes: Iterator[ast.AST], modules: dict = MODULES) -> Iterator[str]:
    """Names of the modules that the import statements name, as far down as they are modules."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules else node.module


def inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


FIGURES = {name for name in MODULES if inside(name, "vae.figures")}


def place(module: str, order: list[list[str]]) -> int:
    part = module.partition(".")[2].partition(".")[0]
    found = [i for i, names in enumerate(order) if part in names]
    assert found, f"{module} has no place yet: give it one in the order above"
    return found[0]


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_only_those_above_them(module):
    package = module.partition(".")[0]
    order = {"minigrad": MINIGRAD, "vae": VAE}[package]
    own = module.partition(".")[2].partition(".")[0]
    for other in imports(at_import(MODULES[module])):
        if not inside(other, package) or other == module:
            continue
        if inside(other, f"{package}.{own}") and own and own in os.listdir(ROOT / package):
            continue  # the same subpackage
        assert place(other, order) < place(module, order), f"{module} imports {other}"


@pytest.mark.parametrize("who, what, exception", FORBIDDEN)
def test_forbidden_imports(who, what, exception):
    for module, tree in MODULES.items():
        if inside(module, who):
            for other in imports(ast.walk(tree)):
                allowed = exception is not None and inside(other, exception)
                assert allowed or not inside(other, what), f"{module} imports {other}"


def test_scipy_is_imported_by_its_rules_only_or_within_functions():
    users = {m for m, tree in MODULES.items() if inside(m, "minigrad")
             and any(inside(other, "scipy") for other in imports(at_import(tree)))}
    assert users == {"minigrad.rules.special"}


def test_only_figures_import_matplotlib():
    users = {m for m, tree in MODULES.items()
             if any(inside(other, "matplotlib") for other in imports(ast.walk(tree)))}
    assert users and users <= FIGURES
    for module in MODULES.keys() - FIGURES:
        assert not FIGURES.intersection(imports(at_import(MODULES[module]))), module


@pytest.mark.parametrize("module", MODULES)
def test_nobody_uses_the_global_random_state(module):
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in (
                "np.random", "numpy.random"):
            assert node.attr in GENERATORS, f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.ImportFrom) and node.module == "numpy.random":
            assert {alias.name for alias in node.names} <= GENERATORS
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            assert "random" not in {alias.name for alias in node.names}


@pytest.mark.parametrize("path", [p for d in ("minigrad", "vae", "tests", "examples")
                                  for p in files(d)], ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_the_core_is_short(record_property):
    """What one reads to understand the engine."""
    lines = {name: len((ROOT / "minigrad" / name).read_text(encoding="utf-8").splitlines())
             for name in ("tensor.py", "backprop.py", "transforms.py")}
    record_property("lines of the core", sum(lines.values()))
    print(f"lines of the core: {sum(lines.values())} {lines}")
    assert sum(lines.values()) < 500, lines


def test_importing_minigrad_loads_neither_scipy_nor_matplotlib_nor_random():
    code = ("import sys, minigrad; costly = {'scipy', 'matplotlib', 'numpy.random', 'vae'}; "
            "print(*costly.intersection(sys.modules))")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                            timeout=60, check=True)
    assert result.stdout.strip() == ""


# -- the reader of imports itself -----------------------------------------------------------------
def test_the_reader_sees_what_runs_at_import_and_nothing_else():
    tree = ast.parse("""
import a.b, c
from d import e, f
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import hidden
class C:
    import inner
    def method(self):
        import later
try:
    import tried
except ImportError:
    pass
def function():
    from much import later
""")
    seen = list(imports(at_import(tree), {"d.f": None}))
    assert seen == ["a.b", "c", "d", "d.f", "typing", "inner", "tried"]
    assert {"hidden", "later", "much"} <= set(imports(ast.walk(tree), {}))
    with pytest.raises(AssertionError, match="no place yet"):
        place("minigrad.novelty", MINIGRAD)
    assert len(MODULES) > 30
