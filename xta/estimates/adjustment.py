"""Generalized least squares with errors that observations share, and a test of each for an outlier.

Arrays in, numbers out. An error source is what several observations may have in common, such as the maneuver of a
visit: a vector of independent unit errors, which each observation multiplies by a matrix of its own. Observations of
one source are correlated by it, and no number of them averages it away.

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

ALONE = 1e-9  # part of the information of a group below which nothing checks it
EQUAL = 1e-6  # of two solutions that are the same [unit of the unknowns]
TWINS = 1.01  # ratio of two tests below which nothing tells which of the two is wrong


@dataclass(frozen=True, eq=False)
class Observation:
    """What was observed of the unknowns: value = sum of matrix @ unknown + errors.

    Attributes
    ----------
    value : array, shape (2,)
    matrices : mapping of int to array, shape (2, 2)
        Derivatives by the unknowns, each of two numbers.
    sources : mapping of str to array, shape (2, k)
        Standard errors by the source they come from; those of one name are of the same k unit errors.
    group : str
        Observations of one group are right or wrong together.
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
        Observations minus solution; of those that were rejected, too.
    tests : array, shape (m,)
        By how much the group of an observation contradicts all others, as chi-square of two degrees of freedom; NaN
        where nothing checks it.
    used : array of bool, shape (m,)
    leverage : array, shape (m,)
        How much of itself the solution takes from an observation, 0 to 1; the redundancy is what is left.
    twins : list of (str, str)
        Groups that contradict each other and of which nothing tells the wrong one.
    chi2, degrees : float, int
        Of the observations used.
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
    """Solve for unknowns, and reject the groups of observations that contradict the others, the worst first.

    Parameters
    ----------
    observations : sequence of Observation
    count : int
        Number of unknowns.
    wanted : int, optional
        Number of those, the first ones, that matter; by default all. Of groups that contradict each other one is
        rejected where it makes no difference to them which.
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
        msg = "the observations do not determine all positions; each exposure has to be observed or registered"
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
    """Add up what the observations have in common."""
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
    """Solve by the observations used: the unknowns, their covariance, and the information, zero where not used."""
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
    # With the shift of a group as two more unknowns, their estimate is a linear function of the weighted residuals;
    # its square in units of its own covariance is the test.
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
