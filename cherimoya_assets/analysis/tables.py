"""Data frames whose columns keep their types when they are empty.

What belongs here: that one thing. What does not: what the columns mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd


def typed_table(dtypes: Mapping[str, str], columns: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """A data frame with the columns of `dtypes`, in its order; without `columns` it has no rows."""
    values: Mapping[str, Any] = dict.fromkeys(dtypes, ()) if columns is None else columns
    return pd.DataFrame({name: pd.Series(values[name], dtype=dtype) for name, dtype in dtypes.items()})
