"""Numbers that every implementation of GELU's difference needs. The formula stands in `cpu/elements.py`."""

from __future__ import annotations

import math

SLOPE = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715

LARGEST_EXPONENT = 85.0
"""Of an exponential in float32, so that neither it nor its reciprocal leaves the range."""

FAR = 60.0
"""Changes of z beyond which sigmoids are subtracted. At the least 25 remain to the largest exponent, and a sigmoid that
is cut off there is 0 or 1 in float32 on both sides."""
