"""The Gaussian process of what order one leaves, against its textbook formulas with all matrices written out."""

from __future__ import annotations

import numpy as np
import pytest

from cherimoya_assets.analysis.mutagenesis.windowed import kriging
from cherimoya_assets.analysis.mutagenesis.windowed.kriging import OWN, Process, choose_nodes, covariance, interpolation

RANDOM = np.random.default_rng(0)
METRIC = np.diag([1.0, 4.0, 0.25, 1.0])
SHIFTS = RANDOM.normal(size=(50, 4))
NODES = RANDOM.normal(size=(5, 4))
EMPTY = np.zeros((0, 4))


def gram(a, b):
    return covariance(a @ METRIC @ b.T)


def left(known, noise=0.0):
    """Covariance matrix of all shifts when some are known, by the definition."""
    across = gram(SHIFTS, known)
    return gram(SHIFTS, SHIFTS) - across @ np.linalg.solve(gram(known, known) + noise, across.T)


class TestInterpolation:
    def test_weights_are_exact_at_the_nodes(self):
        moved, inverse = interpolation(NODES, METRIC)
        np.testing.assert_allclose(covariance(NODES @ moved.T) @ inverse, np.eye(5), atol=1e-6)

    def test_a_function_of_the_process_is_found_between_them(self):
        """A form of third order that vanishes with its slope at 0, of few directions."""
        basis = RANDOM.normal(size=(2, 4))
        nodes, others = RANDOM.normal(size=(12, 2)) @ basis, RANDOM.normal(size=(30, 2)) @ basis

        def function(c):
            return np.square(c @ [1, 2, 0, 1]) * (1 + c @ [0, 0.5, 1, 0])

        moved, inverse = interpolation(nodes, METRIC)
        truth = function(others)
        found = covariance(others @ moved.T) @ inverse @ function(nodes)
        np.testing.assert_allclose(found, truth, atol=1e-5 * np.abs(truth).max())

    def test_nearly_equal_nodes_do_not_get_huge_weights(self):
        twice = np.concatenate([NODES, NODES * (1 + 1e-9)])
        moved, inverse = interpolation(twice, METRIC)
        weights = covariance(SHIFTS @ moved.T) @ inverse
        once = covariance(SHIFTS @ METRIC @ NODES.T) @ interpolation(NODES, METRIC)[1]
        assert np.abs(weights).max() < 10 * np.abs(once).max()

    def test_scale_is_that_of_functions_drawn_from_the_process(self):
        nodes = RANDOM.normal(size=(200, 4))
        factor = np.linalg.cholesky(gram(nodes[:15], nodes[:15]))
        found = [kriging.scale(7 * factor @ RANDOM.normal(size=15), nodes[:15], METRIC) for _ in range(300)]
        assert np.sqrt(np.mean(np.square(found))) == pytest.approx(7, rel=0.1)
        assert kriging.scale(np.zeros(0), EMPTY, METRIC) == 0


class TestProcess:
    def test_variances_are_those_of_the_interpolation(self):
        np.testing.assert_allclose(Process(SHIFTS, EMPTY, METRIC).variances, np.diag(gram(SHIFTS, SHIFTS)))
        np.testing.assert_allclose(Process(SHIFTS, NODES, METRIC).variances, np.diag(left(NODES)), rtol=1e-5, atol=1e-6)

    def test_nothing_is_uncertain_at_a_node(self):
        process = Process(np.concatenate([NODES, SHIFTS]), NODES, METRIC)
        largest = np.diag(gram(NODES, NODES))
        assert (process.variances[:5] < 1e-8 * largest).all() and process.variances[5:].max() > 1

    def test_what_is_known_of_one_edit_is_known_of_its_like(self):
        process = Process(SHIFTS, NODES, METRIC)
        before = process.variances.copy()
        process.know(3)
        shared = left(NODES)
        after = np.diag(shared) - shared[:, 3] ** 2 / (shared[3, 3] * (1 + OWN))
        assert process.variances[3] == 0
        others = np.arange(50) != 3
        np.testing.assert_allclose(process.variances[others], after[others], rtol=1e-5, atol=1e-6)
        assert (process.variances <= before).all()

    def test_weights_are_those_of_the_best_linear_prediction(self):
        process, rows = Process(SHIFTS, NODES, METRIC), np.array([3, 17, 40])
        shared = left(NODES)
        noise = np.diag(OWN * np.diag(shared)[rows])
        truth = np.linalg.solve(shared[np.ix_(rows, rows)] + noise, shared[:, rows].T).T
        np.testing.assert_allclose(process.weights(rows), truth, rtol=1e-5, atol=1e-7)
        assert process.weights(rows[:0]).shape == (50, 0)

    def test_edits_that_shift_alike_are_corrected_alike_and_opposite_ones_hardly(self):
        c = SHIFTS[:1]
        process = Process(np.concatenate([c, 1.01 * c, 0.5 * c, 0 * c, [[0, 0, 0, 1e-3]]]), EMPTY, METRIC)
        weights = process.weights(np.array([0]))[:, 0]
        assert weights[0] == pytest.approx(1 / (1 + OWN), rel=1e-6)
        assert 0.95 < weights[1] < 1.05 and 0 < weights[2] < 0.5
        assert weights[3] == 0 and abs(weights[4]) < 1e-3

    def test_the_least_certain_come_first_until_the_rest_is_within_the_bound(self):
        process = Process(SHIFTS, NODES, METRIC)
        bound = 0.3 * np.sqrt(process.variances.sum())
        before = process.variances.copy()
        plan = process.least_certain(bound, 50)
        np.testing.assert_array_equal(process.variances, before)
        assert plan[0] == before.argmax() and len(set(plan)) == len(plan) < 50
        for row in plan:
            # Each is the least certain when the ones before are known.
            assert row == process.variances.argmax() and process.variances.sum() > bound**2
            process.know(row)
        assert process.variances.sum() <= bound**2
        assert process.least_certain(bound, 50) == []
        assert len(process.least_certain(0.0, 3)) == 3

    def test_an_edit_without_numbers_is_the_least_certain_and_says_nothing(self):
        shifts = SHIFTS.copy()
        shifts[7, 2] = np.nan
        process = Process(shifts, NODES, METRIC)
        assert np.isinf(process.variances[7]) and np.isfinite(np.delete(process.variances, 7)).all()
        assert process.least_certain(np.inf, 5) == []
        assert process.least_certain(1e6, 5) == [7]
        before = np.delete(process.variances, 7)
        process.know(7)
        assert process.variances[7] == 0
        np.testing.assert_array_equal(np.delete(process.variances, 7), before)


class TestChoosingNodes:
    def test_rows_of_the_shifts_the_largest_first(self):
        chosen = choose_nodes(SHIFTS, METRIC, 10)
        assert len({tuple(row) for row in chosen.tolist()}) == 10
        assert {tuple(row) for row in chosen.tolist()} <= {tuple(row) for row in SHIFTS.tolist()}
        sizes = ((SHIFTS @ METRIC) * SHIFTS).sum(axis=1)
        np.testing.assert_array_equal(chosen[0], SHIFTS[sizes.argmax()])

    def test_each_next_one_is_the_least_known(self):
        """By the definition: what is left of the covariance matrix when the chosen are known."""
        chosen = choose_nodes(SHIFTS, METRIC, 6)
        for k in range(1, 6):
            np.testing.assert_array_equal(chosen[k], SHIFTS[np.diag(left(chosen[:k])).argmax()])

    def test_none_that_say_nothing_new(self):
        copies = np.repeat(SHIFTS[:3], 20, axis=0)
        assert len(choose_nodes(copies, METRIC, 10)) == 3
        assert len(choose_nodes(0 * copies, METRIC, 10)) == 0
        assert len(choose_nodes(copies[:0], METRIC, 10)) == 0

    def test_no_more_than_there_are(self):
        assert len(choose_nodes(SHIFTS[:4], METRIC, 10)) == 4
