"""Every block of Python in README.md and docs runs; the blocks of a page share their names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import vae
from vae import estimators
from vae.distributions.kl import CLOSED_FORMS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_code_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    text = page.read_text()
    for block in BLOCK.finditer(text):
        line = text[:block.start()].count("\n") + 1  # so that a traceback shows the page's line
        exec(compile("\n" * line + block[1], str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_pictures_lead_somewhere(page):
    missing = [link for link in LINK.findall(page.read_text())
               if not (page.parent / link).exists()]
    assert not missing


def test_the_chapter_on_sampling_lists_every_estimator():
    text = (ROOT / "docs" / "sampling.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert set(rows) == {*estimators.EXPECTATIONS, *estimators.BOUNDS}
    for name, f in {**estimators.EXPECTATIONS, **estimators.BOUNDS}.items():
        row, = re.findall(rf"^\| `{name}` \|.*$", text, re.MULTILINE)
        assert ("biased for K" in row or "| yes |" in row) == f.biased


def test_the_readme_counts_right():
    """Words for numbers up to thirty are all that it needs."""
    words = dict(zip(("nine", "fifteen", "twenty-two"), (9, 15, 22)))
    text = " ".join((ROOT / "README.md").read_text().lower().split())
    told = {what: words.get(n) or int(n) for n, what in re.findall(
        r"([\w-]+) \[?(distributions|estimators|closed forms|likelihoods)\b", text)
        if n in words or n.isdigit()}
    own = [getattr(vae, name) for name in vae.__all__]
    assert told == {
        "distributions": sum(isinstance(one, type) and issubclass(one, vae.Distribution)
                             and not one.__abstractmethods__ for one in own),
        "estimators": len({**estimators.EXPECTATIONS, **estimators.BOUNDS}),
        "closed forms": sum(not form.infinite for form in CLOSED_FORMS.values()),
        "likelihoods": len(vae.likelihoods.FOR_IMAGES)}
