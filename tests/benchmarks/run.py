"""Time our steps against the peers': python tests/benchmarks/run.py [--peers PYTHON] [WORKLOAD …]

Each is a process of its own.  They take turns of half a second, in an order that is drawn for
each round, so that a change in the machine's speed meets all alike; while one computes the others
sleep.  Printed are medians over the rounds: times, the peak of memory beyond what importing takes
and of the whole process, and our time divided by each peer's, with its quartiles over the rounds.
A peer that is not installed is left out.

    python -m venv peers && peers/bin/pip install torch==2.13.0 jax autograd mygrad scipy matplotlib
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles

HERE = Path(__file__).resolve().parent
THREADS = ("MINIGRAD_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
WORKLOADS = {
    "chain": ["minigrad", "torch", "autograd", "mygrad"],
    **{f"dense-{b}": ["minigrad", "torch", "compile", "jax", "floor"] for b in (20, 100, 500)},
    "iwae-50": ["minigrad", "torch", "compile", "jax", "floor"],
    **{f"{conv}-{b}": ["minigrad", "torch", "torch-last", "compile", "jax", "floor"]
       for conv in ("conv", "conv4") for b in (16, 128, 512)},
}


class Runner:
    """A process that takes turns with others at the steps of one workload."""

    def __init__(self, workload: str, peer: str, python: str, open_: ExitStack):
        if peer in ("minigrad", "floor"):
            python = sys.executable
        self.name = f"{workload} {peer}"
        self.errors = open_.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115
        self.process = open_.enter_context(subprocess.Popen(
            [python, HERE / "steps.py", workload, peer],
            env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors))
        open_.callback(self.process.kill)

    def turn(self, seconds: float) -> dict[str, float] | None:
        """Times of its steps, or None where the peer is not installed."""
        try:
            print(seconds, file=self.process.stdin, flush=True)
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            self.errors.seek(0)
            told = self.errors.read()
            if "ModuleNotFoundError" in told:
                return None
            raise RuntimeError(f"{self.name}: {told}") from None


def compare(workload: str, peers: list[str], python: str, rounds: int) -> None:
    order = random.Random(0)
    times: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as open_:
        runners = {}
        for peer in peers:
            runner = Runner(workload, peer, python, open_)
            if runner.turn(0):  # when it has started, alone
                runners[peer], times[peer] = runner, []
        for _ in range(rounds):
            for peer in order.sample(list(runners), len(runners)):
                time.sleep(0.3)  # idle threads of the one before spin for up to 0.2 s
                times[peer].append(runners[peer].turn(0.5))
    print(f"\n{workload:<12}{'median ms':>12}{'min ms':>10}{'memory MB':>11}{'process MB':>12}"
          f"{'minigrad / it':>15}   (quartiles of {rounds} rounds)")
    for peer, found in times.items():
        ratios = [o["median"] / t["median"] for o, t in zip(times["minigrad"], found)]
        low, middle, high = quantiles(ratios, method="inclusive") if rounds > 1 else 3 * ratios
        print(f"  {peer:<10}{median(t['median'] for t in found):>12.3f}"
              f"{min(t['min'] for t in found):>10.3f}"
              f"{found[-1]['memory']:>11.0f}{found[-1]['process']:>12.0f}{middle:>15.2f}   "
              f"{low:.2f} to {high:.2f}", flush=True)


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
    p.add_argument("--rounds", type=int, default=21)
    args = p.parse_args()
    if unknown := set(args.workloads) - set(WORKLOADS):
        p.error(f"no workload {', '.join(sorted(unknown))}: there are {', '.join(WORKLOADS)}")
    for workload in args.workloads or WORKLOADS:
        peers = [k for k in WORKLOADS[workload] if not args.only or k in ("minigrad", *args.only)]
        compare(workload, peers, args.peers, args.rounds)


if __name__ == "__main__":
    main()
