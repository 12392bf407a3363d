"""What Dagster loads: `defs`, from the experiment files that the environment names. Nothing else.

CHERIMOYA_ASSETS_EXPERIMENTS is an experiment file or a folder of them (default: the embedded demo),
CHERIMOYA_ASSETS_HOME where everything lands (default: `cherimoya_home` beside the experiment file),
CHERIMOYA_ASSETS_AUTOMATION=on starts the sensors (default: they wait until somebody starts them).
"""

from __future__ import annotations

import os
from pathlib import Path

from cherimoya_assets.code_location import build_defs
from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets.experiment import read_folder
from cherimoya_assets.home import default_home

_experiments = Path(os.environ.get("CHERIMOYA_ASSETS_EXPERIMENTS", DEMO_EXPERIMENT))
_home = Path(os.environ.get("CHERIMOYA_ASSETS_HOME", default_home(_experiments).root))

_automation = os.environ.get("CHERIMOYA_ASSETS_AUTOMATION", "off") == "on"

_read, _unreadable = read_folder(_experiments)

defs = build_defs(_read, _home, automation=_automation, unreadable=_unreadable)
