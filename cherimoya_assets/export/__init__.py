"""Export: the stored assets as the files that cherimoya's own pipeline would have written.

`files.py` says which files there are and what is in them, `parameters.py` writes cherimoya's parameter files, and
`placing.py` puts files into a folder without ever leaving a part of one.
"""

from cherimoya_assets.export.files import Exported, export_experiment

__all__ = ["Exported", "export_experiment"]
