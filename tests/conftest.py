"""What tests share: profiles of Hypothesis, and what the tests of the examples need."""

from __future__ import annotations

import gc
import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import vae

EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.append(str(EXAMPLES))  # where a script finds its neighbours when it is run
usual = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ours", usual, max_examples=10, derandomize=True)
settings.register_profile("deep", usual, max_examples=1000)  # --hypothesis-profile=deep
settings.load_profile("ours")


def pytest_collection_finish(session):
    """The collector needn't look again at what thousands of tests are, nor so often: it took a
    fifth of all time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="module")
def example(request):
    """The script that the test module names in SCRIPT, as a module."""
    script = request.module.SCRIPT
    spec = importlib.util.spec_from_file_location(f"example_{script.stem}", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def digits():
    return vae.data.embedded(500, 200)


@pytest.fixture
def isolated(monkeypatch, tmp_path):
    """No network, and nothing of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MINIGRAD_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
