"""BPNet and ChromBPNet on windows, exactly.

These networks are convolutions and rectifiers and normalise over nothing, so that an edit changes, layer by layer, only
the positions that its kernels reach (fastISM: Nair et al. 2022). What is carried is the change: convolutions act on
changes, and a rectifier is differenced, so that nothing is the small difference of two large rounded numbers.

`weights.py` (a BPNet, packed), `sweep.py` (compiled: the unedited sequence, and edits), `network.py` (one BPNet or
the two of a ChromBPNet, behind one face).
"""
