"""Windowed mutagenesis of a Cherimoya: what an edit does, at about a tenth of the work of a forward pass.

fastISM (Nair et al. 2022) recomputes, layer by layer, only the window of positions that an edit can reach. A Cherimoya
has no such window: each block normalises over its whole (length x channels) plane, so an edit moves every position.
This package splits what an edit does in two:

1. Near the edit the state changes by a lot. That is computed exactly, on a window that grows by the dilation of each
   block, from the edit's own normalisation statistics.
2. Everywhere else the state moves only through those statistics: two numbers a block, the change of the mean and the
   relative change of the reciprocal standard deviation. The state outside is a smooth function of these few numbers,
   and that function is modelled once for each sequence (`kriging.py`): to first order by shift fields, beyond by
   interpolating between forward passes in which the statistics of chosen edits are imposed on the unedited sequence.

A window needs the outside in two places only: in the halo that a convolution reads, and in the sums from which the
next statistics come. Both are linear combinations of a few dozen fields.

What is new against fastISM is the second half, and that everything is computed as a difference from the unedited
sequence: GELU is differenced in closed form, and matrix products act on differences. A weak effect is therefore not
the small difference of two large rounded numbers, and float32 comes nearer to float64 than a dense float32 pass does.

The files: `engine.py` (the plan for one sequence), `kriging.py` (how nodes are chosen and interpolated, and how
certain each edit is), `certainty.py` (the check, and what it says), `kernels.py` (what is asked of a machine). Behind
that stand the packages `cpu` (compiled) and `general` (PyTorch's operations, for any device and dtype).
"""
