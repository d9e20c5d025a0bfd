"""`mg.check_grads` finds every planted error, and raises no false alarm."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.check import GradientError
from tests.minigrad.planted import PLANTED

PAGE = Path(__file__).parents[2] / "docs" / "checks.md"
BEHAVES = {"stale buffer", "overwritten", "random", "dtype", "layout"}  # the first answer is right


def title(row):
    return f"{row.category}: {row.name}"


def cases(rows):
    return pytest.mark.parametrize("row", [pytest.param(row, id=title(row)) for row in rows])


def cotangents(row):
    out = np.asarray(row.forward(*row.arguments()))
    g = np.random.default_rng(6).standard_normal(out.shape)
    return [mg.vjp(row.primitive(wrong), *row.arguments())[1](g.copy()) for wrong in (True, False)]


@cases(PLANTED)
def test_a_wrong_rule_is_found(row):
    with pytest.raises(GradientError):
        mg.check_grads(row.primitive(wrong=True), row.arguments(), order=2)


@cases(PLANTED)
def test_the_right_rule_passes(row):
    mg.check_grads(row.primitive(wrong=False), row.arguments(), order=2)


@cases(row for row in PLANTED if row.category not in BEHAVES)
def test_first_cotangents_differ_exactly_where_the_first_derivative_is_wrong(row):
    """So that no row owes its place to a name, and none of second order is found at first."""
    with np.errstate(all="ignore"):
        same = [np.allclose(a, b, rtol=1e-9, atol=0) for a, b in zip(*cotangents(row))]
    assert all(same) == (row.order == 2)


@cases(row for row in PLANTED if row.category in {"dtype", "overwritten"})
def test_what_only_misbehaves_answers_right_at_first(row):
    for wrong, right in zip(*cotangents(row)):
        np.testing.assert_allclose(wrong, right, rtol=1e-12)


def test_there_are_many_of_many_kinds_and_each_once():
    assert len(PLANTED) >= 60 and len(set(map(title, PLANTED))) == len(PLANTED)
    assert min(Counter(row.category for row in PLANTED).values()) >= 3


def test_the_page_counts_these_rows():
    found = re.findall(r"^\| ([\w -]+|NaN) \| (\d+) / (\d+) \|", PAGE.read_text(), re.MULTILINE)
    expected = Counter(row.category for row in PLANTED)
    page = {name: (int(n), int(of)) for name, n, of in found}
    assert {c: page[c] for c in expected} == {c: (n, n) for c, n in expected.items()}
