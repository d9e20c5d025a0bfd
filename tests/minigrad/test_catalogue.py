"""docs/rules.md is what tests/minigrad/catalogue.py writes, and leaves nothing out."""

from __future__ import annotations

import ast
import re

import numpy as np

import minigrad as mg
from minigrad.table import RULES
from minigrad.testing.domains import Domain, Values
from tests.minigrad import catalogue
from tests.minigrad.catalogue import GROUPS, PAGE, Source, domain, page


def rows():
    return {(row.name, row.inner): row for modules in GROUPS.values()
            for source in map(Source, modules) for row in source.rows()}


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "the rules have changed: python tests/minigrad/catalogue.py writes docs/rules.md anew")


def test_every_function_of_the_table_has_a_row():
    names = {**vars(catalogue.special), **vars(catalogue.shaping), "mg": mg}
    listed = {eval(name, names) for name, inner in rows() if not inner}
    assert set(RULES) <= listed
    assert {mg.relu, mg.index_put, mg.conv2d, mg.max_pool2d, mg.polygamma} <= listed


def test_rules_are_shown_as_they_are_written():
    found = rows()
    assert found["np.add", False].rule == "x: `g`<br>y: `g`"
    assert found["np.logaddexp", False].rule == "x: `g * _share(x, y)`<br>y: `g * _share(y, x)`"
    assert found["np.amin", False].call == "y = np.amin(a, axis=None, *, keepdims=False)"
    assert found["np.where", False].rule.startswith("condition: none<br>x: `np.where(")
    assert found["product", True].call == "z = product(x, y)"
    assert found["np.copy", False].rule == "by definition `np.positive(a)`"
    assert found["np.dot", False].rule == "by definition, with `np.tensordot`"
    assert found["np.equal", False].rule == ""


def test_each_row_has_four_cells_and_shown_code_is_python():
    lines = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(lines) > 150
    for line in lines:
        assert len(re.split(r"(?<!\\)\|", line)) == 6, line
        for code in re.findall("`(.*?)`", line.partition("<br>")[0].split(" | ")[1]):
            ast.parse(code.replace("\\|", "|"))


def test_domains_are_put_into_words():
    values = Values(-2, 2, (0.0,), 0.25)
    assert domain(Domain((values, values))) == "[-2, 2], at least 0.25 from 0"
    assert domain(Domain((Values(0, 1), values), "ties", takes="two")) == (
        "[0, 1]; [-2, 2], at least 0.25 from 0; no two closer than 0.1; two")


def test_a_domain_contains_what_keeps_its_distance():
    values = Values(-2, 2, (0.0,), 0.25)
    single = Domain((values,))
    assert single.contains([-2.0, 0.25, 2.0]) and single.contains([])
    assert not any(single.contains(x) for x in ([0.2], [2.1], [-2.1], [1.0, np.nan]))
    two = (Values(), Values())
    assert Domain(two, "ties").contains([[1.0], [2.0]], [3.0, 1.5])
    assert not Domain(two, "ties").contains([[1.0], [2.0]], [3.0, 1.05])
    assert Domain(two, "multiples").contains(1.0, [0.4, -3.0])
    assert not Domain(two, "multiples").contains(1.0, [0.5, -3.0])
    assert Domain(two[:1], "apart").contains([1.0, -1.0])
    assert not Domain(two[:1], "moduli").contains([1.0, -1.0])
