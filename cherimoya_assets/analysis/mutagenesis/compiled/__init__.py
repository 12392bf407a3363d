"""Compiled code for a CPU, float32: vectors, matrix products, and nothing that knows a network.

numba makes vectors of simple loops by itself, but neither of a matrix product whose sums stay in registers nor of an
exponential, and it halves the vectors of a processor that has wide ones. Here the instructions are written out for
LLVM, which numba compiles with: `vectors.py` (a loop over vectors from a Python function), `products.py` (matrix
products), `kept.py` (what is kept between processes). What is built on them stands beside the networks. No call takes
the GIL or starts a thread.
"""
