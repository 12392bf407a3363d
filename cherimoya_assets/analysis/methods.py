"""Which methods of attribution there are. To add one: a class under `AttributionMethod` in its module, a row here."""

from __future__ import annotations

from cherimoya_assets.analysis.attribution_method import AttributionMethod
from cherimoya_assets.analysis.deep_lift import DeepLiftShap
from cherimoya_assets.analysis.mutagenesis.method import SaturationMutagenesis

METHODS: dict[str, type[AttributionMethod]] = {method.name: method for method in (SaturationMutagenesis, DeepLiftShap)}
"""By what an experiment calls them in `algorithm`."""
