"""Derivatives of products and decompositions of matrices.

`mT` is the transpose of the last two axes; further axes in front are batches, and broadcast.
Sources: M. Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008); for Cholesky, I. Murray, "Differentiation of the Cholesky decomposition"
(2016), equation 10.
"""

from __future__ import annotations

import math
import string
from typing import Any, NamedTuple

import numpy as np

from minigrad.define import composed, rule
from minigrad.table import Every
from minigrad.tensor import Primitive, Tensor, untraced


def mT(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


product = Primitive(  # of matrices; `matmul` brings vectors into this form
    np.matmul, lambda g, z, x, y: matmul(g, mT(y)), lambda g, z, x, y: _left_product(x, g, y))


def _left_product(x: Any, g: Any, y: Any) -> Any:
    """xᵀg; where many matrices x meet one y, the sum over them is one product of tall matrices."""
    if y.ndim == 2 and x.ndim > 2:
        x, g = _as_rows(x), _as_rows(g)
    return matmul(mT(x), g)


def _as_rows(x: Any) -> Any:
    return np.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))  # -1 can't be told for no elements


@composed(np.matmul)
def matmul(x1: Any, x2: Any) -> Any:
    if np.ndim(x1) == 2 and np.ndim(x2) == 2:
        return product(x1, x2)
    if np.ndim(x1) == 0 or np.ndim(x2) == 0:
        raise ValueError(f"matmul of shapes {np.shape(x1)} and {np.shape(x2)}: a number is no "
                         "matrix, multiply by * instead")
    if np.ndim(x1) == 1:
        return np.squeeze(matmul(np.expand_dims(x1, 0), x2), -1 if np.ndim(x2) == 1 else -2)
    if np.ndim(x2) == 1:
        return np.squeeze(matmul(x1, np.expand_dims(x2, 1)), -1)
    if np.ndim(x2) == 2:  # many rows against one matrix: one large product
        rows = product(_as_rows(x1), x2)
        return np.reshape(rows, (*x1.shape[:-1], x2.shape[-1]))
    return product(x1, x2)


@composed(np.dot)
def dot(a: Any, b: Any) -> Any:
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return a * b
    return np.tensordot(a, b, axes=((-1,), (max(np.ndim(b) - 2, 0),)))


@composed(np.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    if isinstance(axes, (int, np.integer)):
        axes = (range(np.ndim(a) - axes, np.ndim(a)), range(axes))
    summed_a, summed_b = ([int(i) % np.ndim(x) for i in np.atleast_1d(ax)]
                          for x, ax in zip((a, b), axes))
    rest_a, rest_b = ([i for i in range(np.ndim(x)) if i not in s]
                      for x, s in ((a, summed_a), (b, summed_b)))
    lengths_a, lengths_b = [a.shape[i] for i in summed_a], [b.shape[i] for i in summed_b]
    if lengths_a != lengths_b:
        raise ValueError(f"tensordot of shapes {a.shape} and {b.shape}: the summed axes have "
                         f"lengths {lengths_a} and {lengths_b}")
    shape_a, shape_b = [a.shape[i] for i in rest_a], [b.shape[i] for i in rest_b]
    n = int(np.prod(lengths_a))
    left = np.reshape(np.transpose(a, rest_a + summed_a), (int(np.prod(shape_a)), n))
    right = np.reshape(np.transpose(b, summed_b + rest_b), (n, int(np.prod(shape_b))))
    return np.reshape(product(left, right), shape_a + shape_b)


@composed(np.outer)
def outer(a: Any, b: Any) -> Any:
    return np.reshape(a, (-1, 1)) * np.reshape(b, (1, -1))


@composed(np.inner)
def inner(a: Any, b: Any) -> Any:
    return a * b if np.ndim(a) == 0 or np.ndim(b) == 0 else np.tensordot(a, b, axes=((-1,), (-1,)))


@composed(np.vdot)
def vdot(a: Any, b: Any) -> Any:
    return np.sum(np.ravel(a) * np.ravel(b))


# -- einsum: each operand's cotangent is an einsum of the others ----------------------------------
contracted = Primitive(
    lambda *operands, terms, out: np.einsum(f"{','.join(terms)}->{out}", *operands,
                                            optimize=len(operands) > 2),
    Every(lambda k, g, y, *operands, terms, out: _einsum_back(k, g, operands, terms, out)),
    name="einsum")


@composed(np.einsum)
def einsum(subscripts: str, *operands: Any, optimize: Any = None) -> Any:
    """`optimize` is decided here: products of more than two are always ordered."""
    if not isinstance(subscripts, str):
        raise TypeError("np.einsum of Tensors takes the form with a string: 'ij,jk->ik'")
    operands = [x if type(x) is Tensor else np.asarray(x) for x in operands]
    terms, out = _spelled_out(subscripts.replace(" ", ""), operands)
    operands = list(operands)
    for k, term in enumerate(terms):  # a letter twice in one operand takes its diagonal
        for letter in sorted(set(term)):
            while term.count(letter) > 1:
                i, j = term.index(letter), term.rindex(letter)
                operands[k] = np.diagonal(operands[k], 0, i, j)
                term = "".join(c for n, c in enumerate(term) if n not in (i, j)) + letter
        terms[k] = term
    return contracted(*operands, terms=tuple(terms), out=out)


def _spelled_out(subscripts: str, operands: list) -> tuple[list[str], str]:
    """Explicit output and letters instead of "...": 'i...,i...' -> ['iA', 'iA'], 'A'."""
    left, arrow, out = subscripts.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"einsum({subscripts!r}) has {len(terms)} terms for {len(operands)} "
                         "operands")
    free = [c for c in string.ascii_letters if c not in subscripts]
    dots = [x.ndim - len(t.replace("...", "")) for t, x in zip(terms, operands)]
    longest = "".join(free[:max((d for t, d in zip(terms, dots) if "..." in t), default=0)])
    terms = [t.replace("...", longest[len(longest) - d:] if d > 0 else "")
             for t, d in zip(terms, dots)]
    if not arrow:
        letters = left.replace("...", "").replace(",", "")
        out = "..." + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    return terms, out.replace("...", longest)


def _einsum_back(k: int, g: Any, operands: tuple, terms: tuple, out: str) -> Any:
    """A letter that stands in operand k alone was summed there: its cotangent is repeated."""
    term, others = terms[k], [(t, x) for i, (t, x) in enumerate(zip(terms, operands)) if i != k]
    known = set(out).union(*(t for t, _ in others))
    kept = "".join(c for c in term if c in known)
    part = contracted(g, *(x for _, x in others), terms=(out, *(t for t, _ in others)), out=kept)
    shape = [n if c in known else 1 for c, n in zip(term, operands[k].shape)]
    lengths = dict(zip(kept, part.shape))  # of broadcast axes longer than the operand's own
    part = np.reshape(part, [lengths.get(c, n) for c, n in zip(term, shape)])
    full = [n if m == 1 else m for m, n in zip(part.shape, operands[k].shape)]
    return np.broadcast_to(part, full)


# -- inverses, determinants, Cholesky -------------------------------------------------------------
rule(np.linalg.inv, lambda g, y, a: -mT(y) @ g @ mT(y))
solved = Primitive(
    np.linalg.solve,
    lambda g, y, a, b: -np.linalg.solve(mT(a), g) @ mT(y),
    lambda g, y, a, b: np.linalg.solve(mT(a), g), name="solve")
rule(np.linalg.det, lambda g, y, a: (g * y)[..., None, None] * mT(np.linalg.inv(a)))
rule(np.linalg.cholesky, lambda g, y, a: _cholesky_back(g, y))
log_abs_det = Primitive(
    lambda a: np.linalg.slogdet(a)[1], lambda g, y, a: g[..., None, None] * mT(np.linalg.inv(a)),
    name="slogdet")


@composed(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    if np.ndim(b) == 1:
        return solved(a, np.expand_dims(b, -1))[..., 0]
    return solved(a, b)


class SlogdetResult(NamedTuple):
    sign: Any
    logabsdet: Any


@composed(np.linalg.slogdet)
def slogdet(a: Tensor) -> SlogdetResult:
    return SlogdetResult(np.linalg.slogdet(untraced(a))[0], log_abs_det(a))


def _cholesky_back(g: Any, low: Any) -> Any:
    """½ L⁻ᵀ (Φ + Φᵀ) L⁻¹ with Φ the lower half of Lᵀg, its diagonal halved; symmetric as `a` is."""
    phi = np.tril(mT(low) @ g)
    phi = phi - 0.5 * phi * np.eye(low.shape[-1], dtype=low.dtype)
    inverse = np.linalg.inv(low)
    return 0.5 * (mT(inverse) @ (phi + mT(phi)) @ inverse)
