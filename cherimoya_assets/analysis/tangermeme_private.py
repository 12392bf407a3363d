"""The two private functions of tangermeme that a pooled seqlet null needs, and nothing else.

`tangermeme.seqlet.recursive_seqlets` builds its null from the values that it is given and calls seqlets on the same
values, in one call. Calling one chromosome against the null of all chromosomes needs the two halves apart, and those
have no public name. They are taken by name here, in one place, checked against tangermeme 1.6.0.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cherimoya_assets.errors import InstallationError

CHECKED_VERSION = "1.6.0"

Fields = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def null_tables(
    values: NDArray[np.float32], max_seqlet_len: int, n_bins: int
) -> tuple[np.float32, float, NDArray[np.float64]] | None:
    """tangermeme's null of `values` (one dimension, not empty): smallest value, bin width, and rcdfs.

    rcdfs[k, i] is P(sum of k binned values >= i), shape (max_seqlet_len + 1, n_bins * max_seqlet_len + 1).
    None when all values are equal, where no span stands out.

    Raises:
        InstallationError: this tangermeme has no such function.
    """
    build = _function("_recursive_seqlet_tables", ("X", "max_seqlet_len", "n_bins"))
    tables = build(values, max_seqlet_len, n_bins)
    return None if tables is None else (np.float32(tables[0]), float(tables[1]), np.asarray(tables[2]))


def decode_seqlets(
    projected: NDArray[np.float32],
    rcdfs: NDArray[np.float64],
    xmin: np.float32,
    bin_width: float,
    *,
    threshold: float,
    min_seqlet_len: int,
    max_seqlet_len: int,
    additional_flanks: int,
    n_bins: int,
) -> Fields:
    """tangermeme's calls on `projected` (n, width) against a given null, in the order of calling.

    Returns row, start and end (int64, offsets in the row, half-open), the sum of attribution and the p-value (float64).
    Rows do not influence each other.

    Raises:
        InstallationError: this tangermeme has no such function.
    """
    names = ("threshold", "min_seqlet_len", "max_seqlet_len", "additional_flanks", "n_bins")
    decode = _function("_recursive_seqlet_decode_fields", ("X", "rcdfs", "xmin", "bin_width", *names))
    fields = decode(
        projected, rcdfs, xmin, bin_width, threshold, min_seqlet_len, max_seqlet_len, additional_flanks, n_bins
    )
    row, start, end, attribution, p_value = fields
    return row, start, end, attribution, p_value


def _function(name: str, parameters: tuple[str, ...]) -> Any:
    """The function of tangermeme.seqlet with this name and these parameters."""
    import tangermeme
    import tangermeme.seqlet

    function = getattr(tangermeme.seqlet, name, None)
    # A function compiled by numba keeps the Python one in `py_func`.
    if function is None or tuple(inspect.signature(getattr(function, "py_func", function)).parameters) != parameters:
        found = getattr(tangermeme, "__version__", "unknown")
        raise InstallationError(
            f"The installed tangermeme ({found}) has no tangermeme.seqlet.{name}({', '.join(parameters)}), which "
            f"calling seqlets against a pooled null needs; install tangermeme=={CHECKED_VERSION}."
        )
    return function
