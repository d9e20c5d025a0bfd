"""`minigrad.testing` as a package: without Hypothesis, when it is imported, and its guide."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from minigrad import testing as mt

ROOT = Path(__file__).parents[2]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                          timeout=60, check=True).stdout


def test_without_hypothesis_strategies_say_what_to_install():
    output = run("""
import sys
sys.modules["hypothesis"] = None
from minigrad import testing
print(callable(testing.frozen_noise))
for name in testing.__all__:
    if name != "frozen_noise":
        try:
            getattr(testing, name)
        except ImportError as error:
            print(error)
""")
    assert output.splitlines() == ["True", *(
        f"minigrad.testing.{name} is a strategy of Hypothesis, which is not installed: "
        "pip install 'minigrad-vae[test]'" for name in mt.__all__ if name != "frozen_noise")]


def test_importing_minigrad_imports_no_strategy():
    code = "import sys, minigrad; print({'hypothesis', 'minigrad.testing'} & set(sys.modules))"
    assert run(code).strip() == "set()"


def test_the_guide_lists_every_name_and_shows_what_hypothesis_says(capsys):
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    assert all(f"`{name}" in page for name in mt.__all__)
    names: dict = {}
    exec(re.search(r"^```python\n(# softplus.*?)^```", page, re.M | re.S)[1], names)
    with pytest.raises(AssertionError) as found:
        names["test_softplus"]()
    notes = getattr(found.value, "__notes__", [])  # Python 3.10 prints them
    said = "\n".join([str(found.value), *notes, capsys.readouterr().out])
    shown = re.search(r"^```text\n(.*?)^```", page, re.M | re.S)[1]
    for line in shown.splitlines():
        assert line.strip().removesuffix("…") in said
