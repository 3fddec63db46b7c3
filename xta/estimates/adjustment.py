"""Solve generalized least squares with errors that observations share, and test each observation for an outlier.

The functions take arrays and return numbers. An error source, such as the maneuver of a visit, may be common to
several observations. It is a vector of independent unit errors, which each observation multiplies by its own matrix.
Observations with the same source are correlated, and averaging them does not reduce this error.

References
----------
W. Baarda, "A testing procedure for use in geodetic networks", Publications on Geodesy 2, 5 (1968): the test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from xta.errors import ArgumentError

__all__ = ["Observation", "Result", "adjust"]

Array: TypeAlias = NDArray[np.float64]

LIMIT = 13.8
"""Chi-square of two degrees of freedom that is passed by chance in 0.1 % of cases."""

ALONE = 1e-9  # if less than this part of a group's information is redundant, no other observation checks the group
EQUAL = 1e-6  # largest difference of two solutions that count as the same [unit of the unknowns]
TWINS = 1.01  # if the ratio of two tests is smaller, it cannot be decided which of the two groups is wrong


@dataclass(frozen=True, eq=False)
class Observation:
    """An observation of the unknowns: value = sum of matrix @ unknown + errors.

    Attributes
    ----------
    value : array, shape (2,)
    matrices : mapping of int to array, shape (2, 2)
        Derivatives by the unknowns; each unknown has two numbers.
    sources : mapping of str to array, shape (2, k)
        Standard errors by source; sources of the same name have the same k unit errors.
    group : str
        Observations of one group are accepted or rejected together.
    """

    value: Array
    matrices: Mapping[int, Array]
    sources: Mapping[str, Array]
    group: str


@dataclass(frozen=True, eq=False)
class Result:
    """A solution.

    Attributes
    ----------
    values : array, shape (n, 2)
        The unknowns.
    covariance : array, shape (2 n, 2 n)
        In the order x, y of the first unknown, then of the second, and so on.
    residuals : array, shape (m, 2)
        Observations minus solution, also for those that were rejected.
    tests : array, shape (m,)
        Contradiction between the group of an observation and all others, as a chi-square of two degrees of freedom;
        NaN if no other observation checks it.
    used : array of bool, shape (m,)
    leverage : array, shape (m,)
        Weight of an observation in its own fitted value, 0 to 1; one minus this is the redundancy.
    twins : list of (str, str)
        Groups that contradict each other if it cannot be decided which of them is wrong.
    chi2, degrees : float, int
        Chi-square and degrees of freedom of the observations used.
    """

    values: Array
    covariance: Array
    residuals: Array
    tests: Array
    used: NDArray[np.bool_]
    leverage: Array
    twins: list[tuple[str, str]]
    chi2: float
    degrees: int


def adjust(
    observations: Sequence[Observation], count: int, *, wanted: int | None = None, limit: float = LIMIT
) -> Result:
    """Solve for the unknowns, and reject the groups of observations that contradict the others, the worst first.

    Parameters
    ----------
    observations : sequence of Observation
    count : int
        Number of unknowns.
    wanted : int, optional
        Number of unknowns that matter, counted from the first; by default all. If groups contradict each other, and
        it makes no difference to these unknowns which group is wrong, one of them is rejected.
    limit : float
        Test above which a group is rejected.

    Returns
    -------
    Result

    Raises
    ------
    ArgumentError
        If the observations do not determine the unknowns.
    """
    design = np.zeros((2 * len(observations), 2 * count))
    for row, observation in enumerate(observations):
        for column, matrix in observation.matrices.items():
            design[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = matrix
    values = np.array([observation.value for observation in observations]).reshape(-1)
    covariance = _covariance(observations)
    groups = np.array([observation.group for observation in observations])
    used, twins = np.ones(len(observations), dtype=bool), []
    if not _determined(design, used):
        msg = "the observations do not determine all positions; each exposure must be observed or registered"
        raise ArgumentError(msg)
    wanted = count if wanted is None else wanted
    while True:
        solution, inverse, information = _solve(design, values, covariance, used)
        residual = values - design @ solution
        tests = _tests(design, residual, information, inverse, used, groups)
        order = sorted((test, group) for group, test in tests.items() if test > limit)
        if not order:
            break
        worst, group = order[-1]
        equal = [name for test, name in order[:-1] if test * TWINS > worst]
        without = used & (groups != group)
        determined = _determined(design, without)
        if equal and determined:
            others = (used & (groups != name) for name in (group, *equal))
            solved = [_solve(design, values, covariance, rows)[0][: 2 * wanted] for rows in others]
            equal = equal if float(np.max(np.ptp(solved, axis=0))) > EQUAL else []
        if equal or not determined:
            twins = [(group, name) for name in equal] or [(group, "")]
            break
        used = without
    chi2 = float(residual @ information @ residual)
    final = np.array([tests.get(str(name), np.nan) for name in groups])
    for name in np.unique(groups[~used]):
        back = used | (groups == name)
        with_it, its_inverse, its_information = _solve(design, values, covariance, back)
        left = values - design @ with_it
        final[groups == name] = _tests(design, left, its_information, its_inverse, back, groups)[str(name)]
    degrees = 2 * int(used.sum()) - 2 * count
    leverage = np.diag(design @ inverse @ design.T @ information).reshape(-1, 2).mean(axis=1)
    shape = (len(observations), 2)
    return Result(
        solution.reshape(count, 2), inverse, residual.reshape(shape), final, used, leverage, twins, chi2, degrees
    )


def _covariance(observations: Sequence[Observation]) -> Array:
    """Compute the covariance of all observations from their common sources."""
    total = np.zeros((2 * len(observations), 2 * len(observations)))
    names = dict.fromkeys(name for observation in observations for name in observation.sources)
    for name in names:
        rows = [row for row, observation in enumerate(observations) if name in observation.sources]
        factors = np.concatenate([np.atleast_2d(observations[row].sources[name]) for row in rows])
        index = np.array([[2 * row, 2 * row + 1] for row in rows]).ravel()
        total[np.ix_(index, index)] += factors @ factors.T
    return total


def _pairs(used: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.repeat(used, 2)


def _determined(design: Array, used: NDArray[np.bool_]) -> bool:
    return bool(np.linalg.matrix_rank(design[_pairs(used)]) == design.shape[1]) if used.any() else False


def _solve(design: Array, values: Array, covariance: Array, used: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """Solve with the observations used; return the unknowns, their covariance, and the information (0 if not used)."""
    rows = np.flatnonzero(_pairs(used))
    information = np.zeros_like(covariance)
    information[np.ix_(rows, rows)] = np.linalg.inv(covariance[np.ix_(rows, rows)])
    inverse = np.linalg.inv(design.T @ information @ design)
    return inverse @ (design.T @ information @ values), (inverse + inverse.T) / 2, information


def _tests(
    design: Array,
    residual: Array,
    information: Array,
    inverse: Array,
    used: NDArray[np.bool_],
    groups: NDArray[np.str_],
) -> dict[str, float]:
    """Test each group that is used for a common shift."""
    # If the shift of a group were two more unknowns, their estimate would be a linear function of the weighted
    # residuals. The test is the square of this estimate in units of its own covariance.
    weighted = information @ residual
    spread = information - information @ design @ inverse @ design.T @ information
    tests: dict[str, float] = {}
    for name in dict.fromkeys(groups[used].tolist()):
        shift = np.kron((groups == name)[:, None], np.eye(2))
        pull, own = shift.T @ weighted, shift.T @ spread @ shift
        tests[name] = np.nan
        if float(np.linalg.eigvalsh(own)[0]) > ALONE * float(np.trace(shift.T @ information @ shift)):
            tests[name] = float(pull @ np.linalg.solve(own, pull))
    return tests
