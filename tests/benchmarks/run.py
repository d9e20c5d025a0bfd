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
from collections.abc import Callable
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
THREADS = ("MINIGRAD_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
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


def against_torch(script: str, about: str, workloads: tuple[str, ...],
                  measure: Callable[[str, str], float], threads: int | None = None) -> None:
    """The command line of a script that times workloads here and in PyTorch, alternating.

    measure: (workload, "minigrad" or "torch") -> milliseconds; called in a process of its own.
    """
    p = argparse.ArgumentParser(description=about.partition("\n")[0],
                                formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(workloads))
    p.add_argument("--peers", default=sys.executable, help="the Python that has PyTorch")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=threads, help="for both; None: as each likes")
    p.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.one:
        print(measure(*args.one))
        return
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
    if args.threads:
        environment |= dict.fromkeys(THREADS, str(args.threads))
    print(f"{'workload':<12}{'minigrad ms':>12}{'PyTorch ms':>12}{'ratio':>10}   (by round)")
    for workload in args.workloads or workloads:
        times: dict[str, list[float]] = {"minigrad": [], "torch": []}
        for _ in range(args.rounds):
            for peer, python in (("minigrad", sys.executable), ("torch", args.peers)):
                done = subprocess.run([python, script, "--one", workload, peer], check=True,
                                      env=environment, stdout=subprocess.PIPE)
                times[peer].append(float(done.stdout))
        ours, theirs = times.values()
        ratios = [a / b for a, b in zip(ours, theirs)]
        print(f"{workload:<12}{median(ours):>12.2f}{median(theirs):>12.2f}{median(ratios):>10.2f}"
              "   " + " ".join(f"{r:.2f}" for r in ratios), flush=True)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    p.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(WORKLOADS))
    p.add_argument("--peers", default=sys.executable, help="the Python that has the peers")
    p.add_argument("--only", nargs="+", help="these peers alone")
    p.add_argument("--rounds", type=int, default=5)
    args = p.parse_args()
    if unknown := set(args.workloads) - set(WORKLOADS):
        p.error(f"no workload {', '.join(sorted(unknown))}: there are {', '.join(WORKLOADS)}")
    for workload in args.workloads or WORKLOADS:
        peers = [k for k in WORKLOADS[workload] if not args.only or k in ("minigrad", *args.only)]
        compare(workload, peers, args.peers, args.rounds)


if __name__ == "__main__":
    main()
