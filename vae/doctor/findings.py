"""What the doctor says: findings, each with its evidence and its cure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["problem", "warning", "note"]
SEVERITIES = ("problem", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One illness.  evidence: what was measured, in words; numbers: the same, for programs.

    severity: a "problem" makes results wrong or useless, a "warning" may do so, a "note" is worth
    knowing.
    """

    name: str
    severity: Severity
    evidence: str
    cure: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        indent = {"width": 96, "initial_indent": "  ", "subsequent_indent": "  "}
        return "\n".join([f"{self.severity}: {self.name}",
                          textwrap.fill(self.evidence, **indent),
                          textwrap.fill("cure: " + self.cure, **indent)])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "numbers": dict(self.numbers)}


class NotJudged(Exception):
    """A check has nothing to judge by; the text says what is missing."""


class Diagnosis(Sequence[Finding]):
    """Findings, the gravest first; empty, thus false, where nothing was found.

    checked: names of the checks that came to a verdict.  not_judged: name -> why there is none.
    rows: how many data were looked at.
    """

    def __init__(self, findings: Sequence[Finding], *, checked: Sequence[str],
                 not_judged: Mapping[str, str], rows: int):
        self.findings = sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
        self.checked, self.not_judged, self.rows = list(checked), dict(not_judged), rows

    def __len__(self) -> int:
        return len(self.findings)

    def __getitem__(self, index: Any) -> Any:
        return self.findings[index]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __contains__(self, name: object) -> bool:
        """Whether a finding, or one of this name, is among them."""
        return any(name in (finding, finding.name) for finding in self.findings)

    def __str__(self) -> str:
        counts = {s: sum(f.severity == s for f in self.findings) for s in SEVERITIES}
        found = ", ".join(f"{n} {s}{'s' if n > 1 else ''}" for s, n in counts.items() if n)
        lines = [f"{len(self.checked)} checks on {self.rows:,} data: {found or 'nothing found'}"]
        lines += map(str, self.findings)
        reasons: dict[str, list[str]] = {}
        for name, why in self.not_judged.items():
            reasons.setdefault(why, []).append(name.replace("_", " "))
        if reasons:
            lines.append(textwrap.fill("not judged: " + "; ".join(
                f"{', '.join(names)} ({why})" for why, names in reasons.items()),
                width=96, subsequent_indent="  "))
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Diagnosis({[f'{f.severity}: {f.name}' for f in self.findings]})"
