"""cherimoya_assets: a lineage of attribution and motif assets for Cherimoya, BPNet and ChromBPNet models.

The science is in `cherimoya_assets.analysis` (no Dagster; import it in a notebook), the lineage in
`cherimoya_assets.assets`, and what Dagster loads in `cherimoya_assets.definitions`. Importing this package is
cheap on purpose: torch, tangermeme and modiscolite are imported inside the functions that use them.
"""


def __getattr__(name: str) -> str:
    if name == "__version__":
        from cherimoya_assets.version import version

        return version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
