"""Data frames: columns that keep their types when they are empty, and rows whose columns are not typed.

What belongs here: those two. What does not: what the columns mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd


def typed_table(dtypes: Mapping[str, str], columns: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """A data frame with the columns of `dtypes`, in its order; without `columns` it has no rows."""
    values: Mapping[str, Any] = dict.fromkeys(dtypes, ()) if columns is None else columns
    return pd.DataFrame({name: pd.Series(values[name], dtype=dtype) for name, dtype in dtypes.items()})


def rows_of(table: pd.DataFrame) -> Iterator[Any]:
    """Rows as named tuples. What type a column has is known to whoever made the table, and not to pandas' stubs."""
    return table.itertuples()
