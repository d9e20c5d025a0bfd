"""`report.html`: one run in one file, for any browser, without network and without JavaScript."""

from __future__ import annotations

import base64
import html
import io
import math
import os
import platform
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minigrad import archive

Picture = str | os.PathLike | bytes | Callable[[io.BytesIO], Any]

TYPES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
PACKAGES = ("minigrad-vae", "numpy", "scipy", "matplotlib")
THREADS = ("MINIGRAD_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
LONGEST = 200  # rows of the history that are shown
DRAWN = ("epoch", "train_objective", "train_bound", "train_reconstruction", "train_kl")

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #fdfdfc; --line: #d5d5d8;
  --soft: #66666e; --problem: #b3261e; --warning: #8a5a00; --note: #2f5f9e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6ea; --paper: #17171a; --line: #3c3c42;
  --soft: #a2a2aa; --problem: #ff8a80; --warning: #f2b84b; --note: #8ab8f5; } }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem .2rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; } th { overflow-wrap: normal; }
td.number, th.number { text-align: right; white-space: nowrap; }
figure { margin: 1rem 0; } figcaption, .soft { color: var(--soft); font-size: .9rem; }
img { max-width: 100%; height: auto; background: #fff; }
article { border-left: .3rem solid var(--note); padding-left: .8rem; margin: 1rem 0; }
article.problem { border-color: var(--problem); } article.warning { border-color: var(--warning); }
article h3 { margin: 0; font-size: 1rem; } article p { margin: .3rem 0; }
"""


def write(path: str | os.PathLike, *, title: str, configuration: Mapping[str, Any], protocol: str,
          history: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any],
          pictures: Mapping[str, Picture], findings: Iterable[Any] | str) -> None:
    """Write the report; the file is replaced whole or not at all.

    history: rows, or a `vae.History`.  metrics: name -> number or text, or (value, error, unit),
    error and unit None where there are none; the error of `name` may also stand as `name_se`.
    pictures: caption -> path of a picture, its bytes, or a function that writes it into a file,
    such as `lambda file: figures.samples(file, …)`.  findings: of `vae.diagnose`,
    or a sentence that says why nobody looked.

    What would name the user is left out: of absolute paths only the last part is shown.
    Raises ValueError for a picture that is none.
    """
    rows = getattr(history, "rows", history)
    sections = {"Findings": _findings(findings), "Results": _metrics(metrics),
                "Data protocol": f"<p>{_text(protocol)}</p>", "Curves": _curves(rows),
                "Pictures": "".join(_picture(*item) for item in pictures.items()),
                "Configuration": _table(_flat(configuration)), "Environment":
                _table(_flat(environment()))}
    body = "".join(f"<section>\n<h2>{name}</h2>\n{content}\n</section>\n"
                   for name, content in sections.items() if content)
    archive.write_bytes(path, f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{_text(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{_text(title)}</h1>
{body}</main>
</body>
</html>
""".encode())


def environment() -> dict[str, Any]:
    """What the numbers and times of a run depend on, without names of users, hosts or folders."""
    found: dict[str, Any] = {"python": f"{platform.python_implementation()} "
                                       f"{platform.python_version()}"}
    found |= {name: _version(name) for name in PACKAGES}
    blas = np.show_config(mode="dicts")["Build Dependencies"].get("blas", {})
    found["blas"] = " ".join(str(blas[key]) for key in ("name", "version") if key in blas)
    found |= {name: os.environ[name] for name in THREADS if name in os.environ}
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return {**found, "cpu": _cpu(), "cores": len(cores) or os.cpu_count(),
            "platform": f"{platform.system()} {platform.release()} {platform.machine()}"}


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


# -- the sections ---------------------------------------------------------------------------------
def _findings(findings: Iterable[Any] | str) -> str:
    if isinstance(findings, str):
        return f"<p>{_text(findings)}</p>"
    items = list(findings)
    missing = getattr(findings, "not_judged", {})
    checked = getattr(findings, "checked", None)
    parts = [f'<article class="{_text(f.severity)}">\n<h3>{_text(f.severity)}: {_text(f.name)}</h3>'
             f"\n<p>{_text(f.evidence)}</p>\n<p><strong>Cure:</strong> {_text(f.cure)}</p>\n"
             "</article>" for f in items]
    if not items:
        parts.append("<p>None were given.</p>" if checked is None
                     else f"<p>Nothing found in {len(checked)} checks.</p>")
    if missing:
        why = "".join(f"<li>{_text(name.replace('_', ' '))}: {_text(reason)}</li>"
                      for name, reason in missing.items())
        parts.append(f"<details>\n<summary>Not judged: {len(missing)}</summary>\n<ul>{why}</ul>\n"
                     "</details>")
    return "\n".join(parts)


def _metrics(metrics: Mapping[str, Any]) -> str:
    """A row for each number: name, value, error, unit."""
    errors = {name for name in metrics
              if name.endswith("_se") and name.removesuffix("_se") in metrics}
    rows = []
    for name, given in _flat({k: v for k, v in metrics.items() if k not in errors}).items():
        value, error, unit = ((*given, None, None)[:3] if isinstance(given, tuple)
                              else (given, metrics.get(f"{name}_se"), None))
        number, spread = _measured(value, error)
        rows.append(f'<tr><th scope="row">{_text(name)}</th><td class="number">{_text(number)}</td>'
                    f'<td class="number">{_text(spread)}</td><td>{_text(unit or "")}</td></tr>')
    return _tabled('<th scope="col">quantity</th><th scope="col" class="number">value</th>'
                   '<th scope="col" class="number">standard error</th>'
                   '<th scope="col">unit</th>', rows)


def _curves(rows: Sequence[Mapping[str, Any]]) -> str:
    """The bounds by epoch, and the numbers themselves."""
    if not rows:
        return ""
    picture = ""
    if all(isinstance(row.get(name), (int, float)) for row in rows for name in DRAWN):
        from vae import figures  # matplotlib takes a second to load
        picture = _picture("Bound, reconstruction and KL by epoch", lambda file: figures.curves(
            file, rows, "", "nats"))
    names = list(dict.fromkeys(name for row in rows for name in row))
    every = -(-len(rows) // LONGEST)
    shown = [row for k, row in enumerate(rows) if (len(rows) - 1 - k) % every == 0]
    body = ["<tr>" + "".join(f'<td class="number">{_text(_plain(row.get(name)))}</td>'
                             for name in names) + "</tr>" for row in shown]
    told = "the numbers" if every == 1 else f"the numbers, every {every}th epoch"
    head = "".join(f'<th scope="col" class="number">{_text(name)}</th>' for name in names)
    return f"{picture}<details>\n<summary>{told}</summary>\n{_tabled(head, body)}</details>"


def _picture(caption: str, picture: Picture) -> str:
    """A figure with the picture inside, as base64."""
    if callable(picture):
        file = io.BytesIO()
        picture(file)
        data = file.getvalue()
    else:
        data = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
    kind = next((kind for start, kind in TYPES.items() if data.startswith(start)), None)
    if kind is None:
        raise ValueError(f"picture {caption!r}: neither PNG, JPEG nor GIF, but {len(data)} bytes "
                         f"that begin with {data[:8]!r}")
    text = base64.b64encode(data).decode("ascii")
    return (f'<figure>\n<img alt="{_text(caption)}" src="data:{kind};base64,{text}">\n'
            f"<figcaption>{_text(caption)}</figcaption>\n</figure>\n")


def _table(rows: Mapping[str, Any]) -> str:
    return _tabled("", [f'<tr><th scope="row">{_text(name)}</th>'
                        f"<td>{_text(_plain(value))}</td></tr>" for name, value in rows.items()])


def _tabled(head: str, rows: Sequence[str]) -> str:
    if not rows:
        return ""
    head = f"<thead><tr>{head}</tr></thead>\n" if head else ""
    return (f'<div class="wide">\n<table>\n{head}<tbody>\n' + "\n".join(rows)
            + "\n</tbody>\n</table>\n</div>\n")


# -- texts ----------------------------------------------------------------------------------------
def _text(value: Any) -> str:
    """Escaped, without what HTML has no character for, and without folders of users."""
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}",
                  str(value))
    return html.escape(_private(text), quote=True)


def _private(text: str) -> str:
    """Absolute paths by their last part."""
    home = str(Path.home())
    text = text.replace(home, "~") if len(home) > 1 else text
    return re.sub(r"(?<![\w/:.])(?:~|[A-Za-z]:)?[/\\](?:[^/\\\s:'\",;]+[/\\])+([^/\\\s:'\",;]*)",
                  r"…/\1", text)


def _plain(value: Any) -> str:
    if isinstance(value, os.PathLike):
        path = Path(value)
        return f"…/{path.name}" if path.is_absolute() else str(path)
    if isinstance(value, bool) or not isinstance(value, (float, np.floating)):
        return "" if value is None else str(value)
    return f"{value:.6g}"


def _measured(value: Any, error: Any) -> tuple[str, str]:
    """The value to the second digit of its error; six digits where there is none."""
    numbers = all(map(_is_number, (value, error)))
    if not numbers or not 0 < error < math.inf or not math.isfinite(value):
        return _plain(value), _plain(error)
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f}", f"{error:.{digits}f}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dots."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
