"""examples/test_my_rule.py: a user's tests, run as a user runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def pytest_of(path, folder, *options):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, path]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_the_example_passes_with_hypothesis_own_settings(tmp_path):
    (tmp_path / "test_my_rule.py").write_text((ROOT / "examples" / "test_my_rule.py").read_text())
    ran = pytest_of("test_my_rule.py", tmp_path)
    assert ran.returncode == 0 and "6 passed" in ran.stdout, ran.stdout + ran.stderr


def test_without_its_guard_the_wrong_rule_fails_with_a_small_case(tmp_path):
    text = (ROOT / "examples" / "test_my_rule.py").read_text()
    unguarded = re.sub(r" *with pytest.raises\(.*\n +any_array", "    any_array", text)
    assert unguarded != text
    (tmp_path / "test_my_rule.py").write_text(unguarded)
    ran = pytest_of("test_my_rule.py", tmp_path, "-k", "first_attempt")
    assert "1 failed, 5 deselected" in ran.stdout, ran.stdout + ran.stderr
    assert "derivative 1 of first_attempt by x, shape ()" in ran.stdout
    assert "x=array(-" in ran.stdout
