"""Tables: what is read, split and scaled, and what is said of a file that is no table."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vae.data import DataError, Table, read_table, table, table_from_arrays

PLAIN = b"height,weight\n1.5,60\n1.7,71\n1.6,58\n1.8,90\n"


@pytest.fixture
def read(tmp_path):
    """Reads a table from text or bytes."""
    def reading(text, **options):
        path = tmp_path / "t.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_table(path, **options)
    return reading


def written(x, names, **options) -> str:
    out = io.StringIO()
    writer = csv.writer(out, **options)
    writer.writerow(names)
    writer.writerows([[repr(float(v)) for v in row] for row in x])
    return out.getvalue()


X = np.random.default_rng(3).normal([170, -3e5, 0], [9, 20, 1e-3], (57, 3))


# -- what is read ---------------------------------------------------------------------------------
def test_a_table_is_standardised_by_its_training_rows_and_the_scale_can_be_undone(read):
    t = read(written(X, "abc"), test=0.2, seed=4)
    assert t.names == ("a", "b", "c") and t.name == "t.csv"
    assert t.train.shape == (46, 3) and t.test.shape == (11, 3)
    assert t.train.dtype == t.test.dtype == np.float32
    np.testing.assert_allclose(t.train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(t.train.std(axis=0), 1, rtol=1e-6)
    rows = {tuple(np.round(row / t.std, 4)) for row in X}
    parts = [t.original(part) for part in (t.train, t.test)]
    assert {tuple(np.round(row / t.std, 4)) for row in np.vstack(parts)} == rows
    np.testing.assert_allclose(t.mean, parts[0].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(t.scaled(parts[1]), t.test, atol=1e-6)


def test_the_log_density_in_own_units_is_lower_by_log_scale(read):
    """Against scipy's normal densities of both scales."""
    from scipy.stats import norm
    t = read(written(X, "abc"))
    own = norm.logpdf(t.original(t.test), t.mean, t.std).sum(axis=1)
    np.testing.assert_allclose(norm.logpdf(t.test).sum(axis=1) - t.log_scale, own, rtol=1e-5)
    assert f"lower by {t.log_scale:.6g} nats" in t.protocol


def test_values_can_be_taken_as_they_are(read):
    t = read(PLAIN, standardise=False, test=0)
    np.testing.assert_array_equal(t.train, np.float32([[1.5, 60], [1.7, 71], [1.6, 58], [1.8, 90]]))
    np.testing.assert_array_equal(t.original(t.train), t.train)
    assert t.log_scale == 0 and t.test.shape == (0, 2)
    assert t.protocol == "4 rows of 2 columns; no test set; values as given"


def test_the_split_depends_on_the_seed_alone(read):
    text = written(X, "abc")
    one, two, other = (read(text, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.test, two.test)
    assert not np.array_equal(one.original(one.test), other.original(other.test))
    assert one.protocol.startswith("57 rows of 3 columns; 6 of them, drawn by seed 1, held out as ")


def test_columns_are_taken_by_name_and_order_whatever_the_others_hold(read):
    t = read("name,a,b,b\nAnn,1,2,x\nBob,3,,\nCy,5,6,z\n", columns=["a"], test=0,
             standardise=False)
    assert t.names == ("a",) and t.train.ravel().tolist() == [1, 3, 5]
    t = read(PLAIN, columns=["weight", "height"], test=0, standardise=False)
    assert t.names == ("weight", "height") and t.train[0].tolist() == [60, 1.5]


@pytest.mark.parametrize("text, options", [
    ("\ufeffa,b\n1,2\n3,5\n", {}),
    ("a,b\r\n1,2\r\n\r\n3,5\r\n\r\n", {}),
    ("a,b\r1,2\r3,5", {}),
    ('"a", b \n"1", "2 "\n3.0,+5e0\n', {}),
    ("a;b\n1,0;2\n3;5,0\n", {"delimiter": ";", "decimal": ","}),
    ("1\t2\n3\t5\n", {"delimiter": "\t", "header": False}),
    ("a,b\n1,2\n,7\n8,nan\n9,NA\n3,5\n", {"missing": "drop"}),
    ("a,b\n1,2\n3,5\n".encode("utf-16"), {"encoding": "utf-16"}),
], ids=["BOM", "CRLF, empty lines", "CR", "quotes", "semicolons", "tabs", "missing", "UTF-16"])
def test_the_usual_dialects(read, text, options):
    t = read(text, test=0, standardise=False, **options)
    assert t.names == (("a", "b") if options.get("header", True) else ("x1", "x2"))
    assert t.train.tolist() == [[1, 2], [3, 5]]


def test_what_was_dropped_is_in_the_protocol(read):
    t = read("a,b\n1,2\n,7\n8,nan\n9,3\n3,5\n", missing="drop", test=0)
    assert t.protocol.startswith("3 rows of 2 columns; 2 of 5 rows dropped for missing values; no")


# -- what is refused ------------------------------------------------------------------------------
REFUSED = [
    ("a,b\n1,2\n3,red\n", {}, r"t.csv: line 3, column 'b': 'red' is no number .*columns=\[…\]"),
    ("a,b\n1,2\n3,1e39\n", {}, r"line 3, column 'b': '1e39' is no number that float32 holds"),
    ("a,b\n1,2\n3,-inf\n", {}, r"line 3, column 'b': '-inf'"),
    ("a,b\n1,2\n3,1_000\n", {}, r"line 3, column 'b': '1_000'"),
    ("a,b\n1,\nNaN,4\n,5\n6,7\n", {}, r"t.csv: 3 missing values \(empty or NaN\), in columns "
     r"'a' \(2\), 'b' \(1\), the first in line 2; missing=\"drop\" leaves out 3 of 4 rows"),
    ("a,b\n1,\n", {"missing": "drop"}, r"'b' \(1\), the first in line 2; no row is complete"),
    ("a,b\n1,2\n3\n", {}, r"line 3 has 1 cells, the first line 2"),
    ('a,b\n1,"2\n\n\n2"\n3,4\n', {}, r"line 2, column 'b': '2\\n\\n\\n2'"),
    ("a,b,a\n1,2,3\n", {}, "'a' names two columns"),
    (",a,b\n0,2,3\n", {}, r"column 1 has no name \(row numbers.*index=False"),
    ("1,2\n3,4\n", {}, r"line 1, which should name .*\('1', '2'\): header=False if it is data"),
    ("a,b\n1,2\n1,3\n1,4\n", {"test": 0}, "t.csv: 'a' has the same value in all 3 training rows"),
    ("a;b\n1;2\n", {}, "everything is in one column: is it delimiter=';'"),
    ("a;b\n1,5;2,5\n", {}, "3 cells, the first line 1; everything is in one.*delimiter=';'"),
    ("a\tb\n1\t2\n", {"columns": ["a"]}, r"no column 'a'; there are 'a\\tb'; .*delimiter='\\t'"),
    ("a,b\n1,5,2,5\n", {}, "twice as many: are these decimal commas"),
    ("a;b\n1,5;2\n", {"delimiter": ";"}, "are these decimal commas[?] Then decimal=','"),
    ("a;b\n1.500;2\n", {"delimiter": ";", "decimal": ","}, "'1.500' is no number"),
    ("", {}, "the file is empty"), ("\n\n", {}, "the file is empty"),
    ("a,b\n", {}, "names columns and has no rows"),
    (b"a,b\n1,2\n3,\xff\n", {}, "line 3: byte 0xff at character 3 is not utf-8; .*encoding="),
    ("a,b\n1,2\n".encode("utf-16"), {}, "line 1: byte 0xff at character 1 is not utf-8"),
    (b"a,b\n1,2", {"encoding": "utf-16"}, "utf-16"),
    ('a,b\n1,"2\n3,4\n', {}, "line 3: unexpected end of data"),
    ("a,b\n1,2\n", {}, "of 1 rows 1 cannot be held out; test=0"),
    ("a,b\n" + 99 * "1,2\n", {"max_bytes": 160}, "up to line 12 take more than max_bytes=160"),
    ("a,b\n1," + 200_000 * "2" + "\n", {}, "line 2: field larger than field limit"),
]  # fmt: skip


@pytest.mark.parametrize("text, options, message", REFUSED)
def test_what_is_no_table_is_told(read, text, options, message):
    with pytest.raises(DataError, match=message):
        read(text, **options)


@pytest.mark.parametrize("options, message", [
    ({"test": 1.0}, "test=1.0: it is the part"), ({"missing": "fill"}, 'is "error" or "drop"'),
    ({"delimiter": ",,"}, "it is one character"), ({"decimal": ","}, "and not the delimiter"),
    ({"columns": "height"}, "give a list of names"), ({"columns": []}, "give a list of names"),
])  # fmt: skip
def test_options_that_cannot_be(read, options, message):
    with pytest.raises(ValueError, match=message):
        read(PLAIN, **options)


@pytest.mark.parametrize("text", ["1," * 5000, 'a,b\n"' + '\n","' * 5000], ids=["line", "row"])
def test_a_row_without_end_is_not_held_in_memory(read, text, monkeypatch):
    monkeypatch.setattr(table, "LONGEST", 1000)
    with pytest.raises(DataError, match="a row of more than 1000 characters"):
        read(text)


def test_names_by_the_hundred_thousand_take_no_time_that_grows_with_their_square(read):
    names = ",".join(f"n{i}" for i in range(100_000))
    assert len(read(f"{names}\n{'1,' * 99_999}2\n", test=0, standardise=False).names) == 100_000


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.csv")


# -- drawn ----------------------------------------------------------------------------------------
numbers = st.floats(-2.0**120, 2.0**120, width=32)
titles = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\ufeff"), min_size=1).filter(
    lambda s: s.strip() == s)


@given(st.data(), st.integers(1, 4), st.sampled_from(",;\t|"), st.booleans())
def test_what_is_written_is_read_again(tmp_path_factory, data, d, delimiter, quoted):
    names = data.draw(st.lists(titles, min_size=d, max_size=d, unique=True))
    rows = data.draw(st.lists(st.lists(numbers, min_size=d, max_size=d), min_size=1, max_size=8))
    path = tmp_path_factory.mktemp("round") / "t.csv"
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    path.write_bytes(written(rows, names, delimiter=delimiter, quoting=quoting).encode())
    t = read_table(path, test=0, standardise=False, delimiter=delimiter, columns=names)
    assert t.names == tuple(names)
    np.testing.assert_array_equal(t.train, np.float32(rows))


@given(st.data())
def test_damage_gives_a_clear_error_or_a_table(tmp_path_factory, data):
    raw = bytearray(written(X[:9], ["a", "b", '"c, d"']).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "repeat"])):
            case "flip" if at < len(raw):
                raw[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del raw[at:at + data.draw(st.integers(1, 60))]
            case "insert":
                raw[at:at] = data.draw(st.binary(max_size=9) | st.sampled_from(
                    [b"\n", b'"', b",", b"\r", b"\0", b"nan", b"1e999", b"\xef\xbb\xbf"]))
            case "repeat":
                raw[at:at] = raw[:at]
    path = tmp_path_factory.mktemp("damage") / "t.csv"
    path.write_bytes(raw)
    options = data.draw(st.fixed_dictionaries({}, optional={
        "missing": st.just("drop"), "header": st.just(False), "standardise": st.just(False),
        "test": st.just(0), "columns": st.just(["a"])}))
    try:
        t = read_table(path, **options)
    except DataError as error:
        assert "t.csv" in str(error)
    else:
        assert np.isfinite(t.train).all() and np.isfinite(t.original(t.test)).all()
        assert t.train.shape[1] == t.test.shape[1] == len(t.names) and math.isfinite(t.log_scale)


@given(st.lists(st.floats(-3e38, 3e38) | st.floats(-1e-300, 1e-300), min_size=2, max_size=9))
def test_no_scale_is_too_large_or_too_small(values):
    assume(np.ptp(values) == 0 or np.ptp(values) > 1e-9 * np.abs(values).max())  # not a rounding's
    try:
        t = table_from_arrays(np.array(values)[:, None], test=0)
    except DataError as error:
        assert "has the same value" in str(error) and np.ptp(values) < 1e-300
    else:
        assert abs(t.train.mean()) < 1e-5 and t.train.std() == pytest.approx(1, rel=1e-5)


# -- arrays ---------------------------------------------------------------------------------------
def test_arrays_and_frames_give_the_table_that_their_file_gives(read):
    same = read(written(X, "abc"))
    frame = type("Frame", (), {"columns": ["a", "b", "c"], "__array__": lambda s, *a, **k: X})()
    for x, names in ((X, "abc"), (X.tolist(), "abc"), (X.astype(object), "abc"), (frame, None)):
        t = table_from_arrays(x, names=names)
        assert t.names == same.names and t.protocol == same.protocol
        np.testing.assert_array_equal(t.train, same.train)
        np.testing.assert_array_equal(t.test, same.test)
    assert table_from_arrays(X).names == ("x1", "x2", "x3")


HOLES = np.where(np.arange(171).reshape(57, 3) % 40 == 7, np.nan, X)


@pytest.mark.parametrize("x, options, message", [
    (HOLES, {}, r"table: 5 missing values .*'a' \(1\), 'b' \(2\), 'c' \(2\), the first in row 2"),
    ([[1, "x"], [2, 3]], {}, "table: row 0, column 'b': 'x' is no number .*; leave it out$"),
    ([[1, 2], [3]], {}, "table: .*inhomogeneous"),
    ([[1, 2], [1, 3], [1, 4]], {}, "'a' has the same value in all 2 training .*; leave it out, or"),
    ([[1, None], [2, 3.0]], {}, r"1 missing values .*'b' \(1\), the first in row 0"),
    ([[1, np.inf], [2, 3]], {}, "table: row 0, column 'b': inf is infinite"),
    (np.zeros(3), {}, r"not float64 \(3,\); x\[:, None\] is one column"),
    (np.zeros((0, 2)), {}, r"not float64 \(0, 2\)"),
    (np.zeros((3, 2), complex), {}, "not complex128"),
    (np.zeros((3, 4)), {}, "2 different names for 4 columns"),
    (np.ma.masked_equal([[1, 2], [3, 4]], 2), {}, r"1 missing values .*'b' \(1\)"),
])  # fmt: skip
def test_arrays_that_are_no_table(x, options, message):
    names = "abc" if x is HOLES else "ab"
    with pytest.raises(DataError, match=message):
        table_from_arrays(x, names=names, **options)


def test_rows_with_missing_values_can_be_dropped():
    t = table_from_arrays(HOLES, missing="drop")
    assert len(t.train) + len(t.test) == 52 and "5 of 57 rows dropped" in t.protocol


def test_a_table_checks_itself():
    one, ok = np.ones(2), np.zeros((3, 2), np.float32)
    for train, names, std, message in [
            (ok, "aa", one, "two columns have the same name"),
            (ok, "ab", 0 * one, "std be positive"), (ok[:0], "ab", one, "train is empty"),
            (ok[:, 0], "ab", one, r"train must be a float32 array \(N, 2\), not float32 \(3,\)"),
            (ok + np.float32(np.nan), "ab", one, "train has values that are NaN")]:
        with pytest.raises(DataError, match=message):
            Table("t", tuple(names), train, ok, one, std)
