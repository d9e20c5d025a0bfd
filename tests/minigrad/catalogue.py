"""Writes docs/rules.md, the catalogue of all rules, from the source of the rule table.

    python tests/minigrad/catalogue.py
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import minigrad as mg
from minigrad import convolution, functions, pooling
from minigrad.rules import elementwise, linalg, reductions, shaping, special
from minigrad.table import RULES
from minigrad.tensor import Primitive
from minigrad.testing.domains import DOMAINS, Domain, Values

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"
GROUPS = {
    "Elementwise": [elementwise], "Special functions of SciPy": [special],
    "Reductions": [reductions], "Shapes": [shaping], "Linear algebra": [linalg],
    "Functions of minigrad": [functions, pooling, convolution],
}
TOP = """# The rules

Every function with a derivative, as it stands in the source; written by
`python tests/minigrad/catalogue.py`. A row reads: the function, with the name that its result has
in the rule; for each argument its cotangent, where `g` is that of the result; where the tests draw
the arguments; and which test that is. The engine undoes broadcasting and keeps the dtype, so that
rules need not.

*By definition*: the function is written with others, which have rules, and has none of its own; if
that takes more than a line, those that its source calls are named. *Inner*: a function with a rule
that is not in the table; others are made of it.

In the domain finite differences can judge the first and the second derivative. The rule holds
elsewhere too, as far as there is a derivative; [the conventions](conventions.md) say what it is at
kinks. The test is `test_a_rule_keeps_its_promises[…]` of `tests/minigrad/test_rules_drawn.py`.
"""


class Row(NamedTuple):
    name: str  # as in the source, np.add
    call: str  # z = np.add(x, y)
    rule: str
    inner: bool = False


class Source:
    """A file of rules, as text and as a tree."""

    def __init__(self, module: ModuleType):
        self.names = vars(module)
        self.text = Path(module.__file__).read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)
        self.public = not module.__name__.startswith("minigrad.rules")

    def rows(self) -> Iterator[Row]:
        for statement in self.tree.body:
            if isinstance(statement, ast.FunctionDef):
                yield from self._function(statement)
            elif isinstance(statement, ast.For):  # for f in (np.max, np.min): rule(f, …)
                for element in statement.iter.elts:
                    yield from self._statement(statement.body[0], self.written(element))
            else:
                yield from self._statement(statement)

    def written(self, node: ast.AST) -> str:
        text = " ".join(ast.get_source_segment(self.text, node).split())
        return re.sub(r"RULES\[(.*?)\]\(", r"\1(", text).replace("( ", "(")

    def _function(self, node: ast.FunctionDef) -> Iterator[Row]:
        makers = [d for d in node.decorator_list if isinstance(d, ast.Call)]
        composed = [self.written(f) for d in makers if _called(d) == "composed" for f in d.args]
        vjps = [v for d in makers if _called(d) == "with_vjp" for v in d.args]
        name = ("mg." if node.name in mg.__all__ else "") + node.name
        if vjps:
            yield self._row(name, vjps, inner=node.name not in mg.__all__)
        elif composed or node.name in mg.__all__:
            for f in composed or [name]:
                yield Row(f, f"{f}({_parameters(node.args)})", self._definition(node, f))

    def _statement(self, node: ast.stmt, loop: str = "") -> Iterator[Row]:
        target = self.written(node.targets[0]) if isinstance(node, ast.Assign) else ""
        entered = target[6:-1] if target.startswith("RULES[") else ""
        for call in (c for c in ast.walk(node) if isinstance(c, ast.Call)):
            if _called(call) == "rule":
                yield self._row(loop or self.written(call.args[0]), call.args[1:])
            elif _called(call) == "Primitive":
                yield self._row(entered or target, call.args[1:], inner=not entered)
            elif _called(call) == "constant":
                yield from (Row(name, name, "") for name in map(self.written, call.args))
            elif isinstance(call.func, ast.Call) and _called(call.func) == "composed":
                yield self._by_lambda(self.written(call.func.args[0]), call.args[0])
        if entered and isinstance(node.value, ast.Lambda):
            yield self._by_lambda(entered, node.value)

    def _by_lambda(self, name: str, node: ast.Lambda) -> Row:
        return Row(name, f"{name}({_parameters(node.args)})",
                   f"by definition {_code(self.written(node.body))}")

    def _row(self, name: str, vjps: list[ast.expr], inner: bool = False) -> Row:
        if isinstance(vjps[0], ast.Call):  # Every(lambda k, g, y, *arrays: …)
            vjp = vjps[0].args[0]
            out = vjp.args.args[2].arg
            return Row(name, f"{out} = {name}({_parameters(vjp.args, 3)})",
                       f"argument k: {_code(self.written(vjp.body))}", inner)
        one = next(v for v in vjps if isinstance(v, ast.Lambda))
        _, out, *arguments = (a.arg for a in one.args.args)
        rules = [f"{a}: {_code(self.written(v.body)) if isinstance(v, ast.Lambda) else 'none'}"
                 for a, v in zip(arguments, vjps)]
        return Row(name, f"{out} = {name}({_parameters(one.args, 2)})", "<br>".join(rules), inner)

    def _definition(self, node: ast.FunctionDef, name: str) -> str:
        """What a function of minigrad says of itself; otherwise its one line, or what it calls."""
        if name.startswith("mg."):
            return _cell(_first_line(node))
        body = node.body[1:] if ast.get_docstring(node) else node.body
        if len(body) == 1 and isinstance(body[0], ast.Return):
            return f"by definition {_code(self.written(body[0].value))}"
        called = dict.fromkeys(self.written(c.func) for statement in body
                               for c in ast.walk(statement) if isinstance(c, ast.Call))
        known = [f for f in called if f not in (name, node.name) and self._has_a_rule(f)]
        return f"by definition, with {', '.join(map(_code, known))}"

    def _has_a_rule(self, name: str) -> bool:
        try:
            f = eval(name, self.names)
        except (NameError, AttributeError, SyntaxError):
            return False
        return isinstance(f, Primitive) or f in DOMAINS or f in RULES.values()

    def helpers(self, rows: list[Row]) -> Iterator[str]:
        """What the rules call, has no rule itself, and explains itself."""
        words = set(re.findall(r"\w+", " ".join(row.rule for row in rows)))
        for node in self.tree.body:
            if isinstance(node, ast.FunctionDef) and node.name in words and _first_line(node) \
                    and not self._has_a_rule(node.name):
                call = _code(f"{node.name}({_parameters(node.args)})")
                yield f"- {call}: {_first_line(node)}\n"


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _first_line(node: ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


def _parameters(arguments: ast.arguments, skip: int = 0) -> str:
    """As in the signature, without types and without the first, which the engine gives."""
    arguments = copy.deepcopy(arguments)
    arguments.args = arguments.args[skip:]
    for node in ast.walk(arguments):
        if isinstance(node, ast.arg):
            node.annotation = None
    return ast.unparse(arguments)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{_cell(text)}`"


# -- domains --------------------------------------------------------------------------------------
def domain(d: Domain) -> str:
    ranges = [_range(v) for v in d.arguments]
    text = ranges[0] if len(set(ranges)) == 1 else "; ".join(ranges)
    relation = {"": "", "ties": f"no two closer than {d.margin}",
                "multiples": f"quotient {d.margin} from whole numbers",
                "apart": f"elements {d.margin} apart",
                "moduli": f"absolute values {d.margin} apart"}[d.relation]
    return "; ".join(filter(None, [text, relation, d.takes]))


def _range(v: Values) -> str:
    kinks = [f"{k:g}" for k in v.kinks]
    if len(kinks) > 2:
        kinks = [*kinks[:2], "…", kinks[-1]]
    away = f", at least {v.margin} from {', '.join(kinks)}" if kinks else ""
    return f"[{v.low:g}, {v.high:g}]{away}"


# -- the page -------------------------------------------------------------------------------------
def line(row: Row, names: dict[str, Any]) -> str:
    where, test = "inner", ""
    if not row.inner:
        f = eval(row.name, {**names, "mg": mg})
        where = domain(DOMAINS[f]) if f in DOMAINS else ""
        test = getattr(f, "__qualname__", f.__name__) if f in DOMAINS else ""
    return f"| {_code(row.call)} | {row.rule} | {where} | {test} |\n"


def page() -> str:
    parts = [TOP]
    for title, modules in GROUPS.items():
        parts.append(f"\n## {title}\n\n| function | rule | domain | test |\n|---|---|---|---|\n")
        constants, helpers = [], []
        for source in map(Source, modules):
            rows = list(source.rows())
            parts += [line(row, source.names) for row in rows if row.rule]
            constants += [_code(row.call) for row in rows if not row.rule]
            helpers += source.helpers(rows)
        if helpers:
            parts += ["\nIn these rules:\n\n", *helpers]
        if constants:
            parts.append(f"\nNo derivative, the result is an ndarray: {', '.join(constants)}.\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
