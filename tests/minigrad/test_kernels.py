"""Blocks cover every element once; threads work, fail and fork as they should."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

import minigrad as mg
from minigrad.kernels import blas, blocks, convolution, threads
from minigrad.kernels.windows import Form

ROOT = Path(__file__).parents[2]
drawn = settings(max_examples=80, deadline=None, derandomize=True, database=None)
costs = st.sampled_from([0, 1, 1e9])  # a large one makes small arrays worth several threads


@pytest.fixture(autouse=True)
def in_time():
    """A deadlock ends the process, with a stack of every thread, and not the patience of CI."""
    faulthandler.dump_traceback_later(100, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def with_threads(patch, number, largest):
    patch.setenv("MINIGRAD_NUM_THREADS", str(number))
    patch.setattr(blocks, "LARGEST", largest)


def python(code, **environment):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                            timeout=60, cwd=ROOT, env={**os.environ, **environment})
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


# -- blocks ---------------------------------------------------------------------------------------
@drawn
@given(array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=12), st.integers(1, 5), costs,
       st.integers(1, 50))
def test_slices_cover_everything_exactly_once(shape, number, cost, largest):
    visits, rows = np.zeros(shape, int), []

    def work(part):
        visits[part] += 1
        rows.append(visits[part].shape)

    with pytest.MonkeyPatch.context() as patch:
        with_threads(patch, number, largest)
        blocks.in_slices(work, shape, cost)
    assert np.all(visits == 1)
    assert all(len(s) == len(shape) and s[1:] == shape[1:] for s in rows)
    assert all(np.prod(s) <= largest or s[0] == 1 for s in rows if s)


@drawn
@given(st.lists(array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=9), max_size=6),
       st.integers(1, 5), costs, st.integers(1, 50))
def test_sweep_gives_matching_pieces_of_all_arrays_once_and_scratch(shapes, number, cost, largest):
    groups = [(np.zeros(s), np.arange(np.prod(s, dtype=int)).reshape(s) + 1000.0 * k)
              for k, s in enumerate(shapes)]

    def update(total, numbers, scratch):
        assert total.shape == numbers.shape == scratch.shape == (total.size,) != (0,)
        assert total.size <= largest
        scratch[:] = numbers  # scratch belongs to this call alone, the others would show in total
        total += scratch + 1

    with pytest.MonkeyPatch.context() as patch:
        with_threads(patch, number, largest)
        blocks.sweep(update, groups, cost)
    for total, numbers in groups:
        np.testing.assert_array_equal(total, numbers + 1)


def test_large_work_is_done_by_several_threads_and_small_work_by_the_caller(monkeypatch):
    with_threads(monkeypatch, 3, 1 << 18)
    who = []
    meet = threading.Barrier(3)

    def work(part):
        who.append(threading.current_thread())
        meet.wait(30)  # passes when three are at work at the same time

    blocks.in_slices(work, (3, 10), cost=1e9)
    assert len(set(who)) == 3 and threading.current_thread() in who
    who.clear()
    blocks.in_slices(lambda part: who.append(threading.current_thread()), (300, 10), cost=1)
    assert who == [threading.current_thread()]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_relu_is_zero_and_never_minus_zero_where_nothing_is_positive(monkeypatch, dtype, threads):
    with_threads(monkeypatch, threads, 1 << 18)
    x = (100 * np.random.default_rng(0).standard_normal((1703, 701))).astype(dtype)
    if dtype is not np.int64:
        x[::3, ::5], x[1::3, ::7] = -0.0, np.nan
    exact = np.where(x <= 0, 0, x).astype(dtype)
    for a, expected in ((x, exact), (x.T, exact.T), (x[::2, 1::3], exact[::2, 1::3]),
                        (x[0], exact[0]), (x[0, 1], exact[0, 1])):
        found = np.asarray(mg.relu(a))
        assert found.dtype == dtype
        assert found.tobytes() == np.ascontiguousarray(expected).tobytes()


# -- threads --------------------------------------------------------------------------------------
def raising(error):
    def piece():
        raise error
    return piece


@pytest.mark.parametrize("where", range(4))
@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_errors_come_through_and_the_pool_lives_on(where, error):
    done = []
    pieces = [lambda i=i: done.append(i) for i in range(4)]
    pieces[where] = raising(error)
    with pytest.raises(type(error)) as caught:
        threads.run(pieces, 4)
    assert caught.value is error and sorted(done) == [i for i in range(4) if i != where]
    done.clear()
    threads.run([lambda i=i: done.append(i) for i in range(9)], 4)
    assert sorted(done) == list(range(9))


def test_after_an_error_of_the_caller_nobody_is_still_at_work():
    caller_failed, finished = threading.Event(), []

    def late():
        caller_failed.wait(10)
        finished.append(True)

    def fails():
        caller_failed.set()
        raise ValueError
    with pytest.raises(ValueError):
        threads.run([fails, late], 2)
    assert finished


def test_a_nested_run_does_not_wait_for_itself():
    done = []
    inner = lambda: threads.run([lambda: done.append(1)] * 4, 4)
    middle = lambda: threads.run([inner] * 4, 4)
    threads.run([middle] * 4, 4)
    assert len(done) == 64


def test_several_threads_may_run_at_once():
    sums, errors = [0] * 6, []

    def user(k):
        try:
            for _ in range(50):
                parts = [0] * 5
                threads.run([lambda i=i, parts=parts: parts.__setitem__(i, k) for i in range(5)], 3)
                sums[k] += sum(parts)
        except BaseException as error:
            errors.append(error)

    users = [threading.Thread(target=user, args=(k,)) for k in range(6)]
    for u in users:
        u.start()
    for u in users:
        u.join()
    assert not errors and sums == [250 * k for k in range(6)]


def test_pieces_of_one_thread_run_in_order_in_the_caller():
    who, order = set(), []
    threads.run([lambda i=i: (order.append(i), who.add(threading.current_thread()))
                 for i in range(5)], 1)
    threads.run([], 3)
    assert order == list(range(5)) and who == {threading.current_thread()}


@pytest.mark.parametrize("value", ["0", "-1", "two", "", "1.5"])
def test_an_invalid_number_of_threads_is_named(monkeypatch, value):
    monkeypatch.setenv("MINIGRAD_NUM_THREADS", value)
    with pytest.raises(ValueError, match=f"MINIGRAD_NUM_THREADS='{value}': .*1 or more"):
        threads.num_threads()


def test_the_number_of_threads(monkeypatch):
    monkeypatch.setenv("MINIGRAD_NUM_THREADS", "7")
    assert threads.num_threads() == 7
    monkeypatch.delenv("MINIGRAD_NUM_THREADS")
    assert threads.num_threads() >= 1
    if hasattr(os, "sched_getaffinity"):
        assert threads.num_threads() == len(os.sched_getaffinity(0))


FORK = """
import os, warnings
from minigrad.kernels import threads
done = []
pieces = [lambda i=i: done.append(i) for i in range(8)]
threads.run(pieces, 4)
warnings.simplefilter("ignore")  # newer Pythons warn of any fork with threads
child = os.fork()
if child == 0:
    done.clear()
    threads.run(pieces, 4)
    os._exit(0 if sorted(done) == list(range(8)) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


FORK_INSIDE = """
import os, warnings
from minigrad.kernels import blas
warnings.simplefilter("ignore")
get = blas._thread_setting()[0]
before = get()
with blas.one_thread():
    child = os.fork()
    if child == 0:
        outside = get()
        with blas.one_thread():
            inside = get()
        os._exit(0 if (outside, get()) == (before, before) and inside == min(before, 1) else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert get() == before
print(code)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="os.fork")
def test_a_forked_child_has_threads_of_its_own():
    assert python(FORK) == "0"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="os.fork")
def test_a_child_forked_while_blas_has_one_thread_has_as_many_as_before():
    assert python(FORK_INSIDE, OPENBLAS_NUM_THREADS="2") == "0"


# -- one gathering for two contractions -----------------------------------------------------------
@pytest.mark.parametrize("channels", [(2, 6), (6, 6), (6, 2), (12, 2)])
@pytest.mark.parametrize("groups", [1, 2])
def test_gathering_once_gives_what_gathering_twice_gives(channels, groups):
    c, o = channels
    form = Form((7, 6), (4, 3), (3, 3), (2, 2), (1, 1), groups=groups)
    draw = np.random.default_rng(0).standard_normal
    x, w, y = draw((5, 7, 6, c)), draw((3, 3, c // groups, o)), draw((5, 4, 3, o))
    z, kernel = convolution.correlate_and_weigh(x, w, y, form)
    np.testing.assert_allclose(z, convolution.correlate(x, w, None, form), rtol=1e-12)
    np.testing.assert_allclose(kernel, convolution.weigh(x, y, form), rtol=1e-12)


@pytest.mark.parametrize("retain", [True, False])
def test_the_gradients_of_a_transposed_convolution_are_those_of_each_argument_alone(retain):
    draw = np.random.default_rng(0).standard_normal
    y, w = draw((2, 4, 3, 5)), draw((3, 3, 4, 5))
    seed = draw(mg.conv_transpose2d(y, w, 2, 1).shape)
    both = mg.Tensor(y), mg.Tensor(w)
    out = mg.conv_transpose2d(*both, 2, 1)
    out.backward(seed, retain=retain)
    if retain:
        out.backward(seed)
    alone = [mg.vjp(f, a)[1](seed)[0] for f, a in (
        (lambda y: mg.conv_transpose2d(y, w, 2, 1), y),
        (lambda w: mg.conv_transpose2d(y, w, 2, 1), w))]
    for t, expected in zip(both, alone):
        np.testing.assert_allclose(t.grad, (1 + retain) * expected, rtol=1e-12)


# -- the settings of the process ------------------------------------------------------------------
TUNE = """
from minigrad.kernels import process
calls = []
process.keep_pages = lambda: calls.append("pages")
process.sleep_when_idle = lambda: calls.append("sleep")
process.tune()
print(*calls)
"""


@pytest.mark.parametrize("value, calls", [("0", ""), ("1", "pages sleep"), ("", "pages sleep")])
def test_tuning_can_be_switched_off(value, calls):
    assert python(TUNE, MINIGRAD_TUNE=value) == calls


def test_products_are_right_after_tuning_and_the_environment_is_left_alone():
    code = """
import os
before = dict(os.environ)
import numpy as np, minigrad
assert dict(os.environ) == before
a = np.arange(250_000.0).reshape(500, 500) / 250_000
print(np.allclose(a @ a, np.einsum("ij,jk->ik", a, a)))
"""
    for value in ("0", "1"):
        assert python(code, MINIGRAD_TUNE=value) == "True"


# -- sums of arrays --------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("n", [0, 3, blas.SHORT, blas.SHORT + 1])
@pytest.mark.parametrize("read_only", [False, True])
def test_axpby_is_the_sum_and_changes_nothing_else(dtype, n, read_only):
    x, y = np.random.default_rng(0).standard_normal((2, n)).astype(dtype)
    kept, expected = x.copy(), (0.3 * x + 0.9 * y).astype(dtype)
    x.flags.writeable = not read_only
    blas.axpby(0.3, x, 0.9, y)
    np.testing.assert_allclose(y, expected, rtol=1e-5 if dtype == np.float32 else 1e-14,
                               atol=1e-6 if dtype == np.float32 else 1e-15)
    np.testing.assert_array_equal(x, kept)
