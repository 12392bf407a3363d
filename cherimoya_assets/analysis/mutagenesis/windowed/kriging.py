"""Between nodes: which shift vectors the model of the outside is made exact at, and how wrong it is elsewhere.

What lives here: the covariance of what order one leaves, the choice of nodes, the variance of the interpolation, and
what edits that are known exactly say of the others. What must not: fields, positions.

The outside is a smooth function of an edit's shift vector c. What order one leaves of it vanishes with its slope at 0;
here it is taken for a Gaussian process with covariance g^2 (1 + g), g being the inner product of two shift vectors in
units of the activations that they move (kriging: Krige 1951, Matheron 1963; Sacks et al. 1989 for computations). The
process gives

- the weights with which nodes are interpolated,
- a variance that is 0 at the nodes and grows with the distance from them, so that the error of every edit is predicted
  before any is checked; its scale for a head follows from what order one leaves of that head at the nodes,
- and, once the errors of some edits are known, the errors of all others: edits that shift alike are wrong alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]

RIDGE = 1e-10
"""Of the nodes' covariance matrix, relative to each node's own variance: nearly equal nodes must not get huge opposite
weights."""

NEGLIGIBLE = 1e-12
"""A node whose variance is below this part of the largest would interpolate rounding."""

OWN = 0.02
"""Part of an edit's variance that no other edit shares: where its window lies matters too, and not its shifts alone."""


def covariance(g: Doubles) -> Doubles:
    """g^2 (1 + g) of inner products of shift vectors."""
    found: Doubles = np.square(g) * (1 + g)
    return found


def interpolation(nodes: Doubles, metric: Doubles) -> tuple[Doubles, Doubles]:
    """The nodes (K, 2 n) times the metric, and the inverse (K, K) of their covariance matrix."""
    moved = nodes @ metric
    matrix = covariance(moved @ nodes.T)
    matrix[np.diag_indices(len(nodes))] *= 1 + RIDGE
    return moved, np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def scale(residuals: Doubles, nodes: Doubles, metric: Doubles) -> float:
    """What a standard deviation of 1 means for a quantity of which order one leaves `residuals` (K,) at the nodes.

    The maximum-likelihood scale of the process.
    """
    if not len(nodes):
        return 0.0
    _, inverse = interpolation(nodes, metric)
    return float(np.sqrt(max(float(residuals @ inverse @ residuals), 0.0) / len(nodes)))


def choose_nodes(candidates: Doubles, metric: Doubles, most: int) -> Doubles:
    """Up to `most` of the shift vectors (n, 2 blocks), all of them numbers, to make nodes.

    Pivoted Cholesky: each next node is the vector about which the ones before say least. Fewer where what is left is
    negligible beside the largest variance.
    """
    process = Process(candidates, candidates[:0], metric)
    least = NEGLIGIBLE * float(process.variances.max(initial=0.0))
    chosen: list[int] = []
    while len(chosen) < min(most, len(candidates)):
        pivot = int(process.variances.argmax())
        if process.variances[pivot] <= least:
            break
        process.know(pivot, own=0.0)
        chosen.append(pivot)
    return candidates[chosen]


class Process:
    """What is known of the errors of edits.

    Attributes:
        variances: float64 (E,), of the error of each edit with all that is known, in units of the covariance; infinite
            where a shift vector is no number, of which nothing is known.
    """

    def __init__(self, shifts: Doubles, nodes: Doubles, metric: Doubles) -> None:
        """Of edits with shift vectors (E, 2 n), with a model that is exact at the nodes (K, 2 n)."""
        unknown = ~np.asarray(np.isfinite(shifts).all(axis=1))
        self._shifts = np.where(unknown[:, None], 0.0, shifts)
        self._moved = self._shifts @ metric
        self._factor = np.zeros((0, len(shifts)))
        if len(nodes):
            moved = nodes @ metric
            matrix = covariance(moved @ nodes.T)
            matrix[np.diag_indices(len(nodes))] *= 1 + RIDGE
            shared = covariance(self._shifts @ moved.T)
            self._factor = np.asarray(np.linalg.solve(np.linalg.cholesky(matrix), shared.T), dtype=np.float64)
        self._of_nodes = self._factor
        left = covariance((self._moved * self._shifts).sum(axis=1)) - np.square(self._factor).sum(axis=0)
        self.variances: Doubles = np.where(unknown, np.inf, np.maximum(left, 0.0))
        self._before = self.variances.copy()

    def know(self, row: int, own: float = OWN) -> None:
        """From now on the error of an edit is known; a part `own` of its variance is its own."""
        if not np.isfinite(self.variances[row]):
            self.variances[row] = 0.0
            return
        shared = self._shared(self._factor, np.array([row]))[:, 0]
        spread = float(shared[row]) + own * float(self._before[row])
        if spread > 0:
            self._factor = np.concatenate([self._factor, (shared / np.sqrt(spread))[None]])
            self.variances = np.maximum(self.variances - np.square(self._factor[-1]), 0.0)
        self.variances[row] = 0.0

    def least_certain(self, bound: float, most: int) -> list[int]:
        """The edits to know next, each the least certain of those left, until all standard deviations together are
        within a bound; at most `most`. Those of which nothing is known come first."""
        plan = Process.__new__(Process)
        plan.__dict__.update(self.__dict__)
        plan.variances = self.variances.copy()
        chosen: list[int] = []
        while len(chosen) < most and plan.variances.any() and not plan.variances.sum() <= bound**2:
            chosen.append(int(plan.variances.argmax()))
            plan.know(chosen[-1])
            plan.variances[chosen] = 0.0
        return chosen

    def weights(self, rows: Rows) -> Doubles:
        """What the errors of some edits, known exactly, say of the errors of all: (E, len(rows))."""
        shared = self._shared(self._of_nodes, rows)
        matrix = shared[rows] + np.diag(OWN * self._before[rows] + np.finfo(np.float64).tiny)
        return np.asarray(np.linalg.solve(matrix, shared.T).T, dtype=np.float64)

    def _shared(self, factor: Doubles, rows: Rows) -> Doubles:
        """Covariances (E, len(rows)) of all edits with some."""
        found: Doubles = covariance(self._moved @ self._shifts[rows].T) - factor.T @ factor[:, rows]
        return found
