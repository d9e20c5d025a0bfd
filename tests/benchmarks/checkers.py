"""Which planted errors do checkers find?  python tests/benchmarks/checkers.py [--peers PYTHON]

The table is that of `tests/minigrad/planted.py`.  Each checker runs in a process of its own, with
its default settings; one that is not installed is left out.  `--write` puts the result into
docs/checks.md, `--rows` prints the rows that were missed and the false alarms.

    python -m venv peers && peers/bin/pip install torch==2.13.0 jax autograd scipy
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # of minigrad and the table

import minigrad as mg
from minigrad.cotangents import fitted
from tests.minigrad.planted import PLANTED, Planted

PAGE = Path(__file__).resolve().parents[2] / "docs" / "checks.md"
ABSENT = "absent"
BEGIN, END = "<!-- planted errors: begin -->", "<!-- planted errors: end -->"


class Rule:
    """A planted rule as functions of ndarrays, for other packages to make a rule of their own from.

    Vjps are given the memory of the package's arrays (but for JAX): what they overwrite is lost.
    The derivative of the pullback, for second order, is computed by minigrad from the same vjps:
    what each package would find if the vjps were written in its own functions.
    """

    def __init__(self, row: Planted, wrong: bool):
        self.primitive, self.args = row.primitive(wrong), row.arguments()
        self.n = len(self.args)
        out = np.asarray(row.forward(*row.arguments()))
        self.shape, self.dtype = out.shape, out.dtype

    def forward(self, *args: np.ndarray) -> np.ndarray:
        return np.asarray(self.primitive.forward(*args))

    def pullback(self, g: np.ndarray, out: np.ndarray, *args: np.ndarray) -> list[np.ndarray]:
        """Cotangents of `args`; that broadcasting is undone is the engine's work in minigrad."""
        found = [vjp(g, out, *args) for vjp in self.primitive.vjps]
        return [np.array(fitted(np.asarray(part), a, self.primitive))
                for part, a in zip(found, args)]

    def of_pullback(self, h: Sequence[np.ndarray], g: np.ndarray,
                    *args: np.ndarray) -> list[np.ndarray]:
        """Cotangents of `(g, *args)` for the cotangents `h` of the pullback's results."""
        _, pull = mg.vjp(lambda g, *xs: mg.vjp(self.primitive, *xs)[1](g), g, *args)
        return list(pull(tuple(h)))


# -- the checkers: each raises where it finds something wrong -------------------------------------
def minigrad_checks(row: Planted, wrong: bool) -> None:
    mg.check_grads(row.primitive(wrong), row.arguments(), order=2)


def torch_function(rule: Rule) -> Callable:
    import torch

    def arrays(tensors: Sequence) -> list[np.ndarray]:
        return [t.detach().numpy() for t in tensors]

    def told(tensors: Sequence, call: Callable, *args: Any) -> Any:
        """The call, after which torch knows which of its tensors were written to."""
        before = [a.copy() for a in arrays(tensors)]
        result = call(*args)
        for t, a, b in zip(tensors, arrays(tensors), before):
            if not np.array_equal(a, b):
                torch.autograd.graph.increment_version(t)
        return result

    def tensor(a: np.ndarray) -> torch.Tensor:
        kept = all(s >= 0 for s in a.strides) and a.flags.writeable
        return torch.from_numpy(a if kept else a.copy())

    class Pullback(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, g: Any, out: Any, *args: Any) -> tuple:
            ctx.save_for_backward(g, *args)
            parts = told((g, out, *args), rule.pullback, *arrays((g, out, *args)))
            return tuple(map(tensor, parts))

        @staticmethod
        def backward(ctx: Any, *h: Any) -> tuple:
            g, *rest = map(tensor, rule.of_pullback(arrays(h), *arrays(ctx.saved_tensors)))
            return (g, None, *rest)

    class Planted(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            out = tensor(told(args, rule.forward, *arrays(args)))
            ctx.save_for_backward(out, *args)
            return out

        @staticmethod
        def backward(ctx: Any, g: Any) -> tuple:
            out, *args = ctx.saved_tensors
            return Pullback.apply(g, out.detach(), *args)

    return Planted.apply


def torch_checks(row: Planted, wrong: bool, second: bool = False) -> None:
    import torch

    torch.manual_seed(0)
    checks = [torch.autograd.gradcheck] + second * [torch.autograd.gradgradcheck]
    for check in checks:
        rule = Rule(row, wrong)
        check(torch_function(rule), [torch.from_numpy(a).requires_grad_() for a in rule.args])


def torch_checks_twice(row: Planted, wrong: bool) -> None:
    torch_checks(row, wrong, second=True)


def jax_function(rule: Rule) -> Callable:
    import jax

    def called(f: Callable, like: Any, *args: Any) -> Any:
        """`f` of ndarrays; what it gives has the shapes and dtypes of `like`."""
        types = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), like)
        return jax.pure_callback(lambda *xs: f(*map(np.array, xs)), types, *args)

    @jax.custom_vjp
    def pullback(g: Any, out: Any, *args: Any) -> tuple:
        return called(lambda *a: tuple(rule.pullback(*a)), args, g, out, *args)

    def pullback_back(saved: tuple, h: tuple) -> tuple:
        g, out, *args = saved
        parts = called(lambda *a: tuple(rule.of_pullback(a[:rule.n], *a[rule.n:])),
                       (g, *args), *h, g, *args)
        return (parts[0], jax.numpy.zeros_like(out), *parts[1:])

    pullback.defvjp(lambda *args: (pullback(*args), args), pullback_back)

    @jax.custom_vjp
    def planted(*args: Any) -> Any:
        return called(rule.forward, jax.ShapeDtypeStruct(rule.shape, rule.dtype), *args)

    def forward(*args: Any) -> tuple:
        out = planted(*args)
        return out, (jax.lax.stop_gradient(out), *args)

    planted.defvjp(forward, lambda saved, g: pullback(g, *saved))
    return planted


def jax_checks(row: Planted, wrong: bool) -> None:
    import jax
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    rule = Rule(row, wrong)
    check_grads(jax_function(rule), rule.args, order=2, modes=["rev"])


def autograd_function(rule: Rule) -> Callable:
    from autograd.extend import defvjp, primitive

    @primitive
    def planted(*args: Any) -> Any:
        return rule.forward(*args)

    def pullback_of(k: int) -> Callable:
        @primitive
        def pullback(g: Any, out: Any, *args: Any) -> Any:
            vjp = rule.primitive.vjps[k]
            return np.array(fitted(np.asarray(vjp(g, out, *args)), args[k], rule.primitive))

        def back(i: int) -> Callable:
            def of_argument(y: Any, g: Any, out: Any, *args: Any) -> Callable:
                def cotangent(h: Any) -> Any:
                    hs = [h if j == k else np.zeros(np.shape(a)) for j, a in enumerate(args)]
                    return rule.of_pullback(hs, g, *args)[i]
                return cotangent
            return of_argument

        defvjp(pullback, back(0), None, *(back(i + 1) for i in range(rule.n)))
        return lambda out, *args: lambda g: pullback(g, out, *args)

    defvjp(planted, *map(pullback_of, range(rule.n)))
    return planted


def autograd_checks(row: Planted, wrong: bool) -> None:
    from autograd.test_util import check_grads

    np.random.seed(0)  # noqa: NPY002 (autograd draws its directions there)
    rule = Rule(row, wrong)
    check_grads(autograd_function(rule), tuple(range(rule.n)), modes=["rev"])(*rule.args)


CHECKERS = {  # label -> (package, check, the highest order it checks)
    "minigrad": ("minigrad", minigrad_checks, 2),
    "gradcheck": ("torch", torch_checks, 1),
    "and gradgradcheck": ("torch", torch_checks_twice, 2),
    "JAX": ("jax", jax_checks, 2),
    "autograd": ("autograd", autograd_checks, 2),
}


# -- running and scoring --------------------------------------------------------------------------
def run(label: str) -> list[list[str | None]]:
    """For each row what the checker said of the wrong rule and of the right: None is "all well"."""
    package, check, order = CHECKERS[label]
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")

    def verdict(row: Planted, wrong: bool) -> str | None:
        try:
            check(row, wrong)
        except ModuleNotFoundError:
            raise
        except Exception as error:  # any complaint is one
            return f"{type(error).__name__}: {str(error)[:200]}"
        return None

    return [[ABSENT, ABSENT] if package in row.absent or row.order > order else
            [verdict(row, True), verdict(row, False)] for row in PLANTED]


def once(python: str, label: str) -> list | None:
    """`run` in a process of its own; None where the package is not installed."""
    done = subprocess.run([python, __file__, "--one", label], capture_output=True, text=True)
    if done.returncode and "ModuleNotFoundError" in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(f"{label}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def table(results: dict[str, list]) -> str:
    """Markdown: found of applicable, by category, then the false alarms on right rules."""
    def line(name: str, chosen: Callable, counted: Callable) -> str:
        cells = []
        for verdicts in results.values():
            asked = [v for row, v in zip(PLANTED, verdicts) if chosen(row) and v[0] != ABSENT]
            cells.append(f"{sum(counted(*v) for v in asked)} / {len(asked)}" if asked else "–")
        return " | ".join([f"| {name}", *cells]) + " |"

    def found(wrong: str | None, right: str | None) -> bool:
        return wrong is not None

    def alarm(wrong: str | None, right: str | None) -> bool:
        return right is not None

    return "\n".join([
        " | ".join(["| planted error", *results]) + " |",
        "|---" + "|---:" * len(results) + "|",
        *(line(category, lambda row, c=category: row.category == c, found)
          for category in dict.fromkeys(row.category for row in PLANTED)),
        line("**all: found**", lambda row: True, found),
        line("**found, and the right rule passed**", lambda row: True,
             lambda wrong, right: wrong is not None and right is None),
        line("false alarms, at kinks", lambda row: row.category == "kink", alarm),
        line("false alarms, elsewhere", lambda row: row.category != "kink", alarm),
    ])


def report_rows(results: dict[str, list]) -> None:
    for label, verdicts in results.items():
        for row, (wrong, right) in zip(PLANTED, verdicts):
            if wrong is None:
                print(f"{label}: missed {row.category}, {row.name}")
            if right not in (None, ABSENT):
                print(f"{label}: false alarm at {row.category}, {row.name}: {right}")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    p.add_argument("--peers", default=sys.executable, help="the Python that has the peers")
    p.add_argument("--write", action="store_true", help="put the table into docs/checks.md")
    p.add_argument("--rows", action="store_true", help="print what was missed, row by row")
    p.add_argument("--one", help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.one:
        print(json.dumps(run(args.one)))
        return
    found = {label: once(sys.executable if label == "minigrad" else args.peers, label)
             for label in CHECKERS}
    results = {label: verdicts for label, verdicts in found.items() if verdicts is not None}
    if args.rows:
        report_rows(results)
    print(table(results))
    if args.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
