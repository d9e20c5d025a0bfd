"""report.html is one well-formed file that needs nothing else, and shows what it was given."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vae
from vae import figures, report
from vae.doctor import Diagnosis, Finding

VOID = {"meta", "link", "img", "br", "hr"}
HOSTILE = "<script>alert('x')</script> & \"quoted\" </title> <img src=http://a.b/c>"


class Page(HTMLParser):
    """What a browser would see: tags all closed, resources, texts."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.resources = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            assert not name.startswith("on"), f"{tag} {name}"
            if name in ("src", "href", "srcset", "data", "action", "poster", "background",
                        "xlink:href"):
                self.resources.append(value)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}>"

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join("".join(self.texts).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def png():
    file = io.BytesIO()
    figures.sheet(file, np.linspace(0, 1, 4 * 25).reshape(4, 5, 5), 2, "four")
    return file.getvalue()


ROWS = [{"epoch": k, "train_objective": -120.0 + k, "train_bound": -121.0 + k, "valid_elbo": -119.0,
         "train_reconstruction": -100.0 + k, "train_kl": 20.0, "kl_weight": min(1, k / 3),
         "seconds": 1.5} for k in range(1, 6)]


def written(folder, **changes):
    options = {"title": "Digits", "configuration": {"epochs": 5, "lr": 1e-3}, "protocol": "dynamic",
               "history": ROWS, "metrics": {"test_elbo": -101.2}, "pictures": {}, "findings": []}
    path = folder / "report.html"
    report.write(path, **{**options, **changes})
    text = path.read_text(encoding="utf-8")
    return Page(text), text


def test_it_is_one_file_that_asks_for_no_other(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png)
    page, text = written(tmp_path, pictures={
        "a path": tmp_path / "a.png", "bytes": png, "a function": lambda file: file.write(png)})
    assert len(page.resources) == 5 and all(r.startswith("data:") for r in page.resources)
    outside = re.sub(r"base64,[\w+/=]+", "", text)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|srcset", outside)
    assert page.all("html") == [{"lang": "en"}] and text.startswith("<!DOCTYPE html>\n")
    assert {"charset": "utf-8"} in page.all("meta")
    assert any(m.get("name") == "viewport" for m in page.all("meta"))
    assert "prefers-color-scheme: dark" in text


def test_pictures_are_inside_bit_by_bit_and_have_words_beside_them(tmp_path, png):
    page, _ = written(tmp_path, pictures={"Samples <of> z": png, "again": str(tmp_path / "b.png")}
                      if (tmp_path / "b.png").write_bytes(png) else {})
    images = page.all("img")[1:]  # the first are the curves
    assert [i["alt"] for i in images] == ["Samples <of> z", "again"]
    for image in images:
        kind, _, code = image["src"].partition(";base64,")
        assert kind == "data:image/png" and base64.b64decode(code, validate=True) == png
    decoded = matplotlib.image.imread(io.BytesIO(png))
    assert decoded.ndim == 3 and decoded.std() > 0.1


@pytest.mark.parametrize("picture", [b"<svg onload=alert(1)>", b"", b"BM"])
def test_what_is_no_picture_is_refused(tmp_path, picture):
    with pytest.raises(ValueError, match=r"picture 'x': neither PNG.*\d+ bytes"):
        written(tmp_path, pictures={"x": picture})
    assert list(tmp_path.iterdir()) == []


def test_every_text_is_shown_as_text(tmp_path, png):
    finding = Finding(HOSTILE, "problem", HOSTILE, HOSTILE)
    page, text = written(tmp_path, title=HOSTILE, protocol=HOSTILE,
                         configuration={HOSTILE: HOSTILE}, metrics={HOSTILE: HOSTILE},
                         history=[{"epoch": 1, HOSTILE: HOSTILE}], pictures={HOSTILE: png},
                         findings=Diagnosis([finding], checked=["a"], not_judged={"b": HOSTILE},
                                            rows=3))
    assert "<script" not in text and not page.all("script")
    shown = " ".join(HOSTILE.split())
    assert page.text.count(shown) == 14, page.text  # title twice, the others where they belong
    assert all(r.startswith("data:") for r in page.resources)


@given(text=st.text(max_size=60), key=st.text(max_size=20))
def test_any_text_gives_a_well_formed_page(tmp_path_factory, text, key):
    folder = tmp_path_factory.mktemp("report")
    page, _ = written(folder, title=text, protocol=text, configuration={key: text},
                      metrics={key: (1.0, 0.1, text)}, history=[{"epoch": 1, key: text}],
                      findings=[Finding(text, "note", text, text)])
    assert not page.all("script") and {tag for tag, _ in page.tags} <= KNOWN


KNOWN = {"html", "head", "meta", "link", "title", "style", "body", "main", "h1", "h2", "h3",
         "section", "article", "p", "strong", "details", "summary", "ul", "li", "div", "table",
         "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "img"}


def test_numbers_stand_with_their_errors_and_units(tmp_path):
    page, text = written(tmp_path, metrics={
        "test_elbo": -101.2345, "test_elbo_se": 0.1234, "log p(x)": (-97.123456, 0.0456, "nats"),
        "parameters": 807844, "nothing": None, "interrupted": False, "nan": float("nan"),
        "half": np.float32(0.5), "speed": (12345.678, 150.0, "images/s")})
    cells = [re.findall(r">([^<]*)<", row) for row in re.findall(r"<tr>(.*?)</tr>", text)]
    rows = {c[0]: c for c in ([x for x in cell if x != ""] for cell in cells) if c}
    assert rows["test_elbo"][1:] == ["-101.23", "0.12"]
    assert rows["log p(x)"][1:] == ["-97.123", "0.046", "nats"]
    assert rows["speed"][1:] == ["12346", "150", "images/s"]
    assert rows["parameters"][1:] == ["807844"] and rows["nothing"] == ["nothing"]
    assert rows["interrupted"][1:] == ["False"] and rows["nan"][1:] == ["nan"]
    assert rows["half"][1:] == ["0.5"] and "test_elbo_se" not in page.text


def test_curves_are_drawn_and_the_numbers_stand_beside_them(tmp_path):
    page, _ = written(tmp_path)
    curves, = [a for a in page.all("img") if a["alt"].startswith("Bound, reconstruction and KL")]
    picture = matplotlib.image.imread(io.BytesIO(base64.b64decode(curves["src"].partition(",")[2])))
    assert picture.shape[1] > 2 * picture.shape[0] > 200  # three panels
    for row in ROWS:
        assert f"{row['train_bound']:.6g}" in page.text


def test_an_unfinished_history_is_shown_as_far_as_it_goes(tmp_path):
    page, _ = written(tmp_path, history=[])
    assert "Curves" not in page.text
    rows = [{"epoch": 1, "train_bound": -3.0, "valid_elbo": None}, {"epoch": 2, "valid_elbo": -2.0}]
    for history in (rows, vae.History(rows=rows)):
        page, text = written(tmp_path, history=history)
        assert "Curves" in page.text and "by epoch" not in text and "-3" in page.text
    page, text = written(tmp_path, history=[{"epoch": k, "train_kl": 1.0} for k in range(1, 1001)])
    assert "every 5th epoch" in page.text
    assert len(re.findall(r'<td class="number">1000</td>', text)) == 1  # the last is among them


def test_findings_of_the_doctor_are_shown(tmp_path):
    finding = Finding("posterior collapse", "problem", "KL is 0.01 nats", "free bits")
    found = Diagnosis([finding], checked=["a", "b"], not_judged={"overfitting": "no history"},
                      rows=10)
    page, _ = written(tmp_path, findings=found)
    assert "problem: posterior collapse KL is 0.01 nats Cure: free bits" in page.text
    assert "overfitting: no history" in page.text
    assert page.all("article") == [{"class": "problem"}]
    page, _ = written(tmp_path, findings=Diagnosis([], checked=["a"] * 7, not_judged={}, rows=1))
    assert "Nothing found in 7 checks." in page.text


def test_where_nobody_looked_the_report_says_so(tmp_path):
    page, _ = written(tmp_path, findings="The doctor was not asked: there is no <posterior>")
    assert "The doctor was not asked: there is no <posterior>" in page.text
    page, _ = written(tmp_path, findings=[])
    assert "None were given." in page.text and "Nothing found" not in page.text


def test_paths_and_names_of_users_are_not_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/jane doe")
    page, text = written(
        tmp_path, title="run in /home/jane doe/vae/out", protocol="x / 255, 50/50 and/or 3/4/5",
        configuration={"data": Path("/home/jane doe/mnist"), "out": "/srv/users/jane/out/mnist",
                       "options": {"folder": "C:\\Users\\jane\\digits", "relative": Path("out/a")}})
    assert "jane" not in text
    for kept in ("x / 255, 50/50 and/or 3/4/5", "options.relative out/a", "data …/mnist",
                 "out …/mnist", "options.folder …/digits"):
        assert kept in " ".join(" ".join(page.texts).split()), kept


def test_the_environment_says_what_numbers_depend_on_and_nobodys_name():
    found = report.environment()
    json.dumps(found)
    assert {"python", "numpy", "scipy", "matplotlib", "minigrad-vae", "blas", "cpu", "cores",
            "platform"} <= set(found)
    assert found["numpy"] == np.__version__ and found["cores"] >= 1 and found["cpu"]
    assert re.match(r"\w+ \d+\.\d+", found["python"])
    import getpass
    import socket
    text = json.dumps(found)
    assert str(Path.home()) not in text and os.getcwd() not in text
    assert socket.gethostname() not in text.split() and getpass.getuser() not in text.split()


def test_threads_that_were_set_are_told(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    assert report.environment()["OPENBLAS_NUM_THREADS"] == "7"


def test_the_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    written(tmp_path, title="first")
    for broken in ("fsync", "replace"):
        def fail(*_):
            raise OSError(28, "No space left on device")
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
            patch.setattr(report.os, broken, fail)
            written(tmp_path, title="second")
        assert os.listdir(tmp_path) == ["report.html"]
        assert "first" in (tmp_path / "report.html").read_text(encoding="utf-8")
    written(tmp_path, title="second")
    assert "second" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_what_figures_write_into_memory_is_what_they_write_to_a_path(tmp_path):
    images = np.linspace(0, 1, 100).reshape(4, 5, 5)
    figures.sheet(tmp_path / "a.png", images, 2, "four")
    file = io.BytesIO()
    figures.sheet(file, images, 2, "four")
    assert file.getvalue() == (tmp_path / "a.png").read_bytes()
