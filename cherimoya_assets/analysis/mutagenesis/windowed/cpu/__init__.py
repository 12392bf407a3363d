"""The windowed engine's kernels for float32 on a CPU, compiled.

`weights.py` (the network, packed), `elements.py` (loops over the elements of a row), `rows.py` (what several rows go
through: convolution, layers, profile head), `sequence.py` (the unedited sequence and the model of the outside),
`sweep.py` (edits), `kernels.py` (all of it behind the face that the engine knows).
"""
