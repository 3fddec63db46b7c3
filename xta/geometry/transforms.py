"""Evaluate the steps of a GWCS as one function of arrays.

A GWCS joins its steps anew each time, and astropy checks units, shapes and parameters around each model of a WCS. For
a few pixels this takes several times as long as the evaluation. Here, these checks are made once: the functions call
the same methods ``evaluate`` in the same order, so their results are the same to the last bit.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial, reduce
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xta.geometry import gwcsyaml

if TYPE_CHECKING:
    from astropy.modeling import Model

__all__ = ["Function", "backward", "forward"]

Function: TypeAlias = Callable[..., tuple[NDArray[np.float64], ...]]
"""Takes arrays of one shape (n,) and returns arrays of this shape."""


def forward(steps: "Sequence[Model]") -> Function:
    """Join models that follow one another."""
    return reduce(_after, (_kept(_function, model) for model in steps))


def backward(steps: "Sequence[Model]") -> Function:
    """Join the inverses of models that follow one another, from the last to the first.

    Raises
    ------
    NotImplementedError
        If one of them has no inverse.
    """
    return reduce(_after, (_kept(_inverse, model) for model in reversed(steps)))


def _kept(make: "Callable[[Model], Function]", model: "Model") -> Function:
    return _made(make, model) if model in gwcsyaml.shared else make(model)


@lru_cache(maxsize=256)
def _made(make: "Callable[[Model], Function]", model: "Model") -> Function:
    return make(model)


def _after(first: Function, second: Function) -> Function:
    return lambda *values: second(*first(*values))


def _beside(left: Function, number: int, right: Function) -> Function:
    return lambda *values: (*left(*values[:number]), *right(*values[number:]))


def _function(model: "Model") -> Function:
    if (op := getattr(model, "op", "")) == "|":
        return _after(_function(model.left), _function(model.right))
    if op == "&":
        return _beside(_function(model.left), model.left.n_inputs, _function(model.right))
    values = _parameters(model)
    evaluate = partial(model, with_bounding_box=False) if values is None else partial(_evaluate, model.evaluate, values)
    return evaluate if model.n_outputs > 1 else lambda *values: (evaluate(*values),)


def _parameters(model: "Model") -> list[Any] | None:
    """List the parameters of the method ``evaluate`` of a model; None for a kind or for units that are not usual.

    They have the axis of a set of models in front.
    """
    parameters = [getattr(model, name) for name in model.param_names]
    if type(model) not in gwcsyaml.kinds() or any(parameter.unit is not None for parameter in parameters):
        return None
    # The angles of rotations are kept in radians, and converted to degrees, to be read and written.
    converted = [
        getattr(parameter, "_internal_value", None) if parameter.name == "angles" else parameter.value
        for parameter in parameters
    ]
    return None if any(value is None for value in converted) else [np.array([value]) for value in converted]


def _evaluate(evaluate: Callable[..., Any], parameters: Sequence[Any], *values: Any) -> Any:
    return evaluate(*values, *parameters)


def _inverse(model: "Model") -> Function:
    op = "" if model.has_user_inverse else getattr(model, "op", "")
    if op == "|":
        return _after(_inverse(model.right), _inverse(model.left))
    if op == "&":
        return _beside(_inverse(model.left), model.left.n_outputs, _inverse(model.right))
    return _function(model.inverse)
