"""Time our steps against the peers': python tests/benchmarks/run.py [--peers PYTHON] [WORKLOAD …]

Each measurement is a process of its own; ours and the peers' alternate, so that a change in the
machine's speed meets all alike.  Printed are medians over the rounds: times, the peak of memory
beyond what importing takes and of the whole process, and our time divided by each peer's, round by
round.  A peer that is not installed is left out.

    python -m venv peers && peers/bin/pip install torch==2.13.0 jax autograd mygrad scipy matplotlib
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
WORKLOADS = {
    "chain": ["minigrad", "torch", "autograd", "mygrad"],
    **{f"dense-{b}": ["minigrad", "torch", "compile", "jax", "floor"] for b in (20, 100, 500)},
    "iwae-50": ["minigrad", "torch", "compile", "jax", "floor"],
    **{f"{conv}-{b}": ["minigrad", "torch", "torch-last", "compile", "jax", "floor"]
       for conv in ("conv", "conv4") for b in (16, 128, 512)},
}


def once(python: str, workload: str, peer: str) -> dict[str, float] | None:
    """Times of one process, or None where the peer is not installed."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
    done = subprocess.run([python, HERE / "steps.py", workload, peer], env=environment,
                          capture_output=True, text=True)
    if done.returncode and "ModuleNotFoundError" in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(f"{workload} {peer}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(workload: str, peers: list[str], python: str, rounds: int) -> None:
    times: dict[str, list[dict[str, float]]] = {peer: [] for peer in peers}
    for _ in range(rounds):
        for peer in list(times):
            ours = peer in ("minigrad", "floor")
            found = once(sys.executable if ours else python, workload, peer)
            if found is None:
                del times[peer]
            else:
                times[peer].append(found)
    print(f"\n{workload:<12}{'median ms':>12}{'min ms':>10}{'memory MB':>11}{'process MB':>12}"
          f"{'minigrad / it':>15}   (by round)")
    for peer, found in times.items():
        ratios = [o["median"] / t["median"] for o, t in zip(times["minigrad"], found)]
        print(f"  {peer:<10}{median(t['median'] for t in found):>12.3f}"
              f"{median(t['min'] for t in found):>10.3f}"
              f"{median(t['memory'] for t in found):>11.0f}"
              f"{median(t['process'] for t in found):>12.0f}{median(ratios):>15.2f}   "
              + " ".join(f"{r:.2f}" for r in ratios), flush=True)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    p.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(WORKLOADS))
    p.add_argument("--peers", default=sys.executable, help="the Python that has the peers")
    p.add_argument("--only", nargs="+", help="these peers alone")
    p.add_argument("--rounds", type=int, default=5)
    args = p.parse_args()
    for workload in args.workloads or WORKLOADS:
        peers = [k for k in WORKLOADS[workload] if not args.only or k in ("minigrad", *args.only)]
        compare(workload, peers, args.peers, args.rounds)


if __name__ == "__main__":
    main()
