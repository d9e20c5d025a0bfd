"""What the engine refuses, and that its errors say what to do instead."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.tensor import Tensor

T = Tensor(np.arange(1.0, 7.0).reshape(2, 3))


def assign(t):
    t[0] = 1.0


def add_to_array(t):
    x = np.ones(t.shape)
    x += t


@pytest.mark.parametrize("call, error, text", [
    (lambda t: Tensor(np.arange(3)), TypeError, r"int64.*\.astype.*ndarrays are constants"),
    (lambda t: Tensor(np.array([True])), TypeError, "bool"),
    (lambda t: Tensor(np.array([1j])), TypeError, "complex128"),
    (lambda t: Tensor(t), TypeError, r"Tensor\(Tensor\).*stop_gradient"),
    (assign, TypeError, r"immutable.*mg\.index_put.*np\.where"),
    (add_to_array, TypeError, "np.add.*immutable; leave out="),
    (np.asarray, TypeError, r"gradient would be lost: use mg\.stop_gradient"),
    (lambda t: np.array([t, t]), TypeError, r"use mg\.stop_gradient"),
    (lambda t: np.exp(t, out=np.empty(t.shape)), TypeError, "np.exp.*leave out="),
    (lambda t: np.add(1.0, 2.0, out=t), TypeError, "np.add.*leave out="),
    (lambda t: np.add.reduce(t), mg.NoRule, r"np\.add\.reduce has no.*np\.sum"),
    (lambda t: np.multiply.outer(t, t), mg.NoRule, r"np\.multiply\.outer"),
    (lambda t: np.add.at(t, 0, 1.0), mg.NoRule, r"np\.add\.at"),
    (lambda t: np.convolve(t, t), mg.NoRule, r"numpy\.convolve has no.*mg\.rule\(numpy\.convolve"),
    (np.linalg.eigh, mg.NoRule, r"numpy\.linalg\.eigh"),
    (np.spacing, mg.NoRule, r"spacing.*mg\.rule\(.*stop_gradient"),
    (lambda t: np.sum(t, where=np.ones((2, 3), bool)), mg.NoRule, r"sum\(where=\).*axis, keepdims"),
    (lambda t: np.exp(t, dtype=np.float32), mg.NoRule, r"exp\(dtype=\)"),
    (lambda t: np.add(t, 1, where=np.ones(3, bool)), mg.NoRule, r"add\(where=\)"),
    (lambda t: np.pad(t, 1, mode="mean"), mg.NoRule, "mode='mean'.*reflect"),
    (lambda t: np.linalg.norm(t, ord="nuc"), mg.NoRule, "ord='nuc'"),
    (lambda t: mg.leaky_relu(np.ones(3), np.sum(t)), mg.NoRule, r"first 1 .*stop_gradient"),
    (lambda t: mg.softmax(np.ones(3), axis=t), mg.NoRule, r"first 1 .*stop_gradient"),
    (lambda t: mg.polygamma(-1, t), ValueError, "order is an integer"),
    (lambda t: t @ 2.0, ValueError, r"\(2, 3\) and \(\).*multiply by \*"),
    (lambda t: mg.affine(t, np.ones((2, 4)), np.ones(4)), ValueError,
     r"\(2, 3\).*\(2, 4\).*\(4,\)"),
    (lambda t: np.einsum("ij,jk", t), ValueError, "2 terms for 1"),
    (lambda t: np.split(t, 2, axis=1), ValueError, "3 elements along axis 1.*np.array_split"),
])
def test_error_and_advice(call, error, text):
    with pytest.raises(error, match="(?s)" + text):
        call(T)


def test_item_assignment_changes_nothing():
    before = T.data.copy()
    with pytest.raises(TypeError):
        T[0] = 5.0
    np.testing.assert_array_equal(T.data, before)


@pytest.mark.parametrize("name, call", [
    ("add", lambda t, x: t + x), ("subtract", lambda t, x: x - t), ("multiply", lambda t, x: t * x),
    ("divide", lambda t, x: x / t), ("power", lambda t, x: t**x),
    ("maximum", lambda t, x: np.maximum(t, x)), ("where", lambda t, x: np.where(x > 0, t, x)),
    ("matmul", lambda t, x: t @ x), ("concatenate", lambda t, x: np.concatenate([t, x])),
], ids=lambda v: v if type(v) is str else "")
def test_shapes_that_do_not_fit_are_named_with_the_operation(name, call):
    other = np.ones((4, 5))
    nested = mg.grad(lambda s: mg.grad(lambda t: np.sum(s * call(t, other)))(T.data)[0, 0])
    for attempt in (lambda: call(T, other), lambda: call(T, Tensor(other)),
                    lambda: nested(np.array(1.0))):
        with pytest.raises(ValueError) as caught:
            attempt()
        assert str(caught.value).startswith(name)
        assert "(2, 3)" in str(caught.value) and "(4, 5)" in str(caught.value)
