"""What a sample is made of, and which way a gradient takes to its parameters."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy import ndarray

from minigrad.backprop import pull
from minigrad.debugging import summary
from minigrad.inspect import Text, graph, items_of
from minigrad.marks import mark_of
from minigrad.tensor import Tensor, untraced
from vae.distributions import Distribution, StoppedGradient
from vae.distributions.base import origin_of

WAYS = {
    "location-scale": "path derivative (reparameterisation by location and scale)",
    "implicit": "path derivative (implicit reparameterisation, Figurnov et al. 2018)",
    "inverse cdf": "path derivative (of the inverse cdf)",
    "relaxed": "path derivative of a relaxation (biased for what it relaxes)",
}


def explain(z: Any, loss: Any = None) -> str:
    """Of a sample z: its noise, its parameters, ∂z/∂parameter, and what stops a gradient.

    loss: what is computed from z.  Then also how much of the gradient by each parameter comes
    through the sample, and how much on other ways (the KL, or log q).  To be printed; the graph is
    kept.
    """
    if type(z) is not Tensor:
        return Text(f"an array, {np.shape(z)}: a constant. No gradient passes: it was drawn from a "
                    "distribution whose parameters were arrays, or its gradient was stopped")
    origin = origin_of(z)
    if origin is None:
        below = [t for t in graph(z) if origin_of(t)]
        hint = "; give what `sample` returned" + (
            f": {len(below)} draws are below it, of "
            f"{', '.join(type(origin_of(t).q).__name__ for t in below)}" if below else "")
        raise ValueError(f"lab.explain(z): {z.rule.name if z.rule else 'leaf'} {z.shape} is no "
                         f"draw of a distribution{hint}")
    parameters = _parameters(origin.q)
    head = f"z {z.shape} ~ {_name(origin.q)}"
    lines = [head, *(f"  parameter {name}: {_state(p)}, {summary(p)}"
                     for name, p in parameters.items())]
    if origin.stopped:
        lines.append("  estimator: none; drawn with stopped=True, so that a gradient by z is "
                     "dropped (warning StoppedGradient), that of the decoder is kept")
    else:
        lines.append(f"  estimator: {WAYS.get(origin.q.path, origin.q.path)}")
        lines += [*_noise(z, origin.q), *_slopes(z, parameters)]
    if loss is not None:
        lines += _ways(z, loss, parameters)
    return Text("\n".join(lines))


def _name(q: Distribution) -> str:
    return f"{type(q).__name__}, event of {q.event_ndim} axes"


def _parameters(q: Distribution) -> dict[str, Any]:
    """By name, without those that are computed from others of them, such as std from log_std."""
    found = _all_parameters(q)
    tensors = {p for p in found.values() if type(p) is Tensor}
    return {name: p for name, p in found.items()
            if type(p) is not Tensor or tensors.isdisjoint(set(graph(p)) - {p})}


def _all_parameters(q: Distribution) -> dict[str, Any]:
    found = {}
    for name in q.parameters:
        value = getattr(q, name)
        if isinstance(value, Distribution):
            found |= {f"{name}.{inner}": v for inner, v in _all_parameters(value).items()}
        else:
            found[name] = value
    return found


def _noise(z: Tensor, q: Distribution) -> list[str]:
    """The constants below z that were drawn."""
    if q.path == "implicit":
        return ["  noise: none of its own; the draw stays at its quantile when parameters move"]
    return [f"  noise: {summary(item.value)}" for item in items_of(z) if item.kind == "noise"]


def _state(p: Any) -> str:
    if type(p) is Tensor:
        return "carries gradient"
    mark = mark_of(p)
    return "stopped" if mark and mark.what == "stopped" else "constant"


def _slopes(z: Tensor, parameters: dict[str, Any]) -> list[str]:
    """∂(Σ z)/∂parameter: elementwise what ∂z/∂parameter is, where each draw has its own."""
    below = set(graph(z))
    traced = {name: p for name, p in parameters.items() if type(p) is Tensor and p in below}
    found = pull([z], [np.ones(z.shape, z.dtype)], keep=traced.values())
    return [f"  ∂Σz/∂{name}: {summary(found[p])}" if p in found else f"  ∂Σz/∂{name}: none"
            for name, p in traced.items()]


def _ways(z: Tensor, loss: Any, parameters: dict[str, Any]) -> list[str]:
    """The gradient of the loss's sum by each parameter, through z and past it."""
    if type(loss) is not Tensor:
        return ["  the loss is a constant: nothing in it carries gradient"]
    below = set(graph(loss))
    traced = {name: p for name, p in parameters.items() if type(p) is Tensor and p in below}
    if z not in below:
        lines = ["  the loss does not depend on z, or only on its value as a constant"]
    else:
        lines = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StoppedGradient)  # it is what is told here
        all_ways = pull([loss], [np.ones(loss.shape, loss.dtype)], keep=[*traced.values(), z])
        through = pull([z], [all_ways[z]], keep=traced.values()) if z in all_ways else {}
    for name, p in traced.items():
        zero = np.zeros(p.shape, p.dtype)
        total, part = all_ways.get(p, zero), through.get(p, zero)
        lines.append(f"  gradient of the loss by {name}: ‖{_norm(total):.4g}‖, through z "
                     f"‖{_norm(part):.4g}‖, past it ‖{_norm(total - part):.4g}‖")
    return lines


def _norm(g: ndarray) -> float:
    return float(np.sqrt(np.sum(np.square(untraced(g), dtype=np.float64))))
