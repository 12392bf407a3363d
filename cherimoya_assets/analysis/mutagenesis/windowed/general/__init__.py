"""The windowed engine's kernels with PyTorch's own operations: for any device, and for float64.

`network.py` (the weights), `reference.py` (one pass over the unedited sequence, everything kept), `outside.py` (the
model of the outside), `sweep.py` (edits), `arithmetic.py` (the inner loops), `statistics.py` (the next shifts),
`read_out.py` (scores), `kernels.py` (all of it behind the face that the engine knows).
"""
