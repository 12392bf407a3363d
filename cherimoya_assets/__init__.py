"""cherimoya_assets: a lineage of attribution and motif assets for Cherimoya, BPNet and ChromBPNet models.

The science is in `cherimoya_assets.analysis` (no Dagster; import it in a notebook), the lineage in
`cherimoya_assets.assets`, and what Dagster loads in `cherimoya_assets.definitions`. Importing this package is
cheap on purpose: torch, tangermeme and modiscolite are imported inside the functions that use them.
"""

__version__ = "0.1.0"
