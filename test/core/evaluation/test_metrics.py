"""Metrics of predictors with known outputs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from esr_core import LABELS
from esr_core.data.ferplus import FerPlus
from esr_core.emotions import CIRCUMPLEX, affect_of
from esr_core.evaluation.metrics import (
    calibration_error,
    disagreement,
    evaluate,
    first_branches,
    majority,
    measure,
    measure_affect,
    nested_accuracy,
    torch_predictor,
    with_logits,
)
from esr_core.inference.metadata import ModelMetadata
from esr_core.network.esr import ESR, Ensemble
from esr_core.perception.preprocessing import InputSpec

Answer = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


def numbered(*targets: int) -> FerPlus:
    """Faces whose grey level stands for the emotion that ``read_off`` predicts."""
    images = np.stack([np.full((48, 48), 25 * t, np.uint8) for t in targets])
    return FerPlus(images, np.eye(8, dtype=np.float32)[list(targets)], np.array(targets))


def read_off(batch: NDArray[np.float32]) -> Answer:
    """Predict the emotion of the grey level with probability 1."""
    label = np.rint(batch.mean(axis=(1, 2, 3)) * 255 / 25).astype(np.int64)
    probabilities = np.eye(8, dtype=np.float32)[label]
    return probabilities, affect_of(probabilities), np.stack([label, label], axis=1)


def test_perfect_answers() -> None:
    report = evaluate(read_off, numbered(0, 1, 2, 3, 4, 5, 6, 7), InputSpec())
    assert (report.n, report.accuracy, report.accuracy_vote) == (8, 1.0, 1.0)
    assert report.recall == dict.fromkeys(LABELS, 1.0)
    np.testing.assert_array_equal(report.confusion, np.eye(8))
    assert report.ece == 0
    assert (report.macro_f1, report.loss) == pytest.approx((1, 0))
    for affect in (report.valence, report.arousal):
        assert (affect.rmse, affect.ccc, affect.pearson) == pytest.approx((0, 1, 1))
        assert affect.sign_agreement == 1


def test_mistakes_are_counted_where_they_belong() -> None:
    data = numbered(1, 1, 1, 2)
    data = FerPlus(data.images, data.distribution, np.array([1, 1, 4, 2]), "majority")
    report = evaluate(read_off, data, InputSpec())
    assert report.accuracy == 0.75
    assert report.confusion[4, 1] == 1
    assert report.confusion.sum() == 4
    assert report.recall["happy"] == 1
    assert report.recall["fear"] == 0
    assert report.recall["contempt"] == 0
    assert report.ece == pytest.approx(0.25)
    # happy: precision 2 of 3, recall 2 of 2; fear: none; sad: all.
    assert report.macro_f1 == pytest.approx((0.8 + 0 + 1) / 3)


def test_batches_make_no_difference_and_progress_is_reported() -> None:
    data, counts = numbered(*[i % 8 for i in range(10)]), list[int]()
    whole = evaluate(read_off, data, InputSpec())
    parts = evaluate(read_off, data, InputSpec(), batch_size=4, on_progress=counts.append)
    assert counts == [4, 8, 10]
    assert parts.summary() == whole.summary()


def test_network_gets_the_size_it_was_trained_at() -> None:
    shapes: list[tuple[int, ...]] = []

    def look(batch: NDArray[np.float32]) -> Answer:
        shapes.append(batch.shape)
        return read_off(batch)

    evaluate(look, numbered(1, 2, 3), InputSpec(size_px=56))
    assert shapes == [(3, 3, 56, 56)]


def test_vote_and_mean_may_differ() -> None:
    def torn(batch: NDArray[np.float32]) -> Answer:
        probabilities = np.zeros((len(batch), 8), np.float32)
        probabilities[:, [1, 3]] = 0.4, 0.6
        return probabilities, affect_of(probabilities), np.array([[1, 1, 3]] * len(batch))

    report = evaluate(torn, numbered(1, 1), InputSpec())
    assert (report.accuracy, report.accuracy_vote) == (0.0, 1.0)


def test_error_of_affect_is_root_mean_square() -> None:
    def neutral(batch: NDArray[np.float32]) -> Answer:
        n = len(batch)
        probabilities = np.eye(8, dtype=np.float32)[[0] * n]
        return probabilities, np.zeros((n, 2), np.float32), np.zeros((n, 1), np.int64)

    report = evaluate(neutral, numbered(1, 2), InputSpec())
    expected = np.sqrt((CIRCUMPLEX[[1, 2]] ** 2).mean(axis=0))
    assert (report.valence.rmse, report.arousal.rmse) == pytest.approx(tuple(expected), abs=1e-6)


def test_summary_is_plain_json() -> None:
    summary = evaluate(read_off, numbered(0, 3, 3), InputSpec()).summary()
    assert json.loads(json.dumps(summary)) == summary
    assert set(summary) == {
        "n",
        "loss",
        "accuracy",
        "accuracy_vote",
        "recall",
        "confusion",
        "macro_f1",
        "ece",
        "valence",
        "arousal",
    }
    assert list(summary["recall"]) == list(LABELS)


def test_most_votes_win_and_the_more_probable_one_between_equals() -> None:
    votes = np.array([[2, 2, 5], [2, 5, 7], [5, 2, 2]])
    probabilities = np.zeros((3, 8), np.float32)
    probabilities[:, 5], probabilities[:, 2] = 0.9, 0.1
    assert majority(votes, probabilities).tolist() == [2, 5, 2]


def test_calibration_error_of_known_cases() -> None:
    sure = np.full(10, 0.95, np.float32)
    right = np.arange(10) < 5
    assert calibration_error(sure, right) == pytest.approx(0.45)
    half = np.full(10, 0.5, np.float32)
    assert calibration_error(half, right) == pytest.approx(0)


def test_calibration_error_does_not_cancel_between_bins() -> None:
    confidence = np.array([0.2, 0.2, 1.0, 1.0], np.float32)
    right = np.array([True, True, False, False])
    assert calibration_error(confidence, right) == pytest.approx(0.9)


def test_pytorch_predicts_as_the_ensemble_does() -> None:
    esr, batch = ESR(2).eval(), np.random.default_rng(0).random((2, 3, 56, 56), np.float32)
    answers = torch_predictor(esr)(batch)
    with torch.inference_mode():
        expected = Ensemble(esr)(torch.from_numpy(batch))
    for answer, tensor in zip(answers, expected):
        np.testing.assert_allclose(answer, tensor.numpy(), atol=1e-6)


def test_agreement_of_affect_against_formulas_written_out() -> None:
    random = np.random.default_rng(3)
    true = random.uniform(-1, 1, 200)
    estimates = 0.6 * true + 0.1 + random.normal(0, 0.2, 200)
    report = measure_affect(estimates.astype(np.float32), true.astype(np.float32))
    covariance = np.cov(estimates, true, bias=True)
    assert report.pearson == pytest.approx(np.corrcoef(estimates, true)[0, 1], abs=1e-5)
    gap = (estimates.mean() - true.mean()) ** 2
    ccc = 2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + gap)
    assert report.ccc == pytest.approx(ccc, abs=1e-5)
    assert report.rmse == pytest.approx(np.sqrt(np.mean((estimates - true) ** 2)), abs=1e-5)
    assert report.sign_agreement == pytest.approx(np.mean((estimates > 0) == (true > 0)))


def test_affect_that_never_changes_correlates_with_nothing() -> None:
    report = measure_affect(np.zeros(4, np.float32), np.zeros(4, np.float32))
    assert (report.rmse, report.ccc, report.pearson, report.sign_agreement) == (0, 0, 0, 1)


def test_sign_agreement_leaves_out_targets_of_zero() -> None:
    targets = np.array([0, 0, 0.5, 0.5, -0.5, -0.5], np.float32)
    estimates = np.array([0.1, -0.1, 0.3, 0.2, -0.4, 0.1], np.float32)
    assert measure_affect(estimates, targets).sign_agreement == 3 / 4
    assert measure_affect(targets, targets).sign_agreement == 1
    assert measure_affect(np.zeros(6, np.float32), targets).sign_agreement == 0


def test_each_branch_is_measured_by_itself() -> None:
    logits = np.zeros((2, 2, 8), np.float32)  # of two faces, by two branches
    logits[:, 0, 1] = 5  # the first branch votes happy twice
    logits[[0, 1], 1, [1, 2]] = 5  # the second one happy, then sad
    affect = np.zeros((2, 2, 2), np.float32)
    affect[:, 1, 0] = 0.5
    emotions = np.eye(8, dtype=np.float32)[[1, 2]]
    unused = np.zeros((2, 8)), np.zeros((2, 2)), logits.argmax(2)
    true = np.zeros((2, 2), np.float32)
    outputs = first_branches([*unused, logits, affect], 2)
    report = measure(outputs, emotions, true).branches
    assert report is not None
    assert report.correct == (1, 2)
    assert np.array(report.rmse) == pytest.approx(np.array([[0, 0], [0.5, 0]]))
    sure = np.log(np.exp(5) / (np.exp(5) + 7))
    wrong = np.log(1 / (np.exp(5) + 7))
    assert report.loss == pytest.approx((-(sure + wrong) / 2, -sure), abs=1e-5)


def test_nested_accuracy_is_that_of_smaller_ensembles() -> None:
    random = np.random.default_rng(5)
    logits = random.normal(size=(40, 5, 8)).astype(np.float32)
    target = random.integers(0, 8, 40)
    nested = nested_accuracy(logits, target)
    for k in range(1, 6):
        predicted = torch.from_numpy(logits[:, :k]).softmax(dim=2).mean(dim=1).argmax(dim=1).numpy()
        assert nested[k - 1] == pytest.approx((predicted == target).mean())


def test_disagreement_counts_pairs() -> None:
    votes = np.array([[1, 1, 1], [1, 1, 2], [1, 2, 3]])
    assert disagreement(votes) == pytest.approx((0 + 2 / 3 + 1) / 3)
    assert disagreement(votes[:, :1]) == 0


def test_summary_of_branches_is_plain_json() -> None:
    logits = np.zeros((2, 3, 8), np.float32)
    unused = np.zeros((2, 8)), np.zeros((2, 2)), np.zeros((2, 3), np.int64)
    outputs = [*unused, logits, np.zeros((2, 3, 2), np.float32)]
    eye = np.eye(8, dtype=np.float32)[:2]
    summary = measure(outputs, eye, np.zeros((2, 2), np.float32)).summary()
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["nested"], summary["disagreement"]) == ([0.5, 0.5, 0.5], 0)


def test_calibrated_logits_are_those_of_the_calibrated_network() -> None:
    esr, batch = ESR(3).eval(), np.random.default_rng(0).random((2, 3, 56, 56), np.float32)
    bias = (0.0, 0.5, -0.5, 1.0, 2.0, 3.0, 0.25, -1.0)
    outputs = torch_predictor(esr)(batch)
    later = with_logits(outputs, outputs[3] / 0.5 + np.float32(bias))
    metadata = ModelMetadata(esr.name, 3, temperature=0.5, bias=bias)
    for mine, direct in zip(later, torch_predictor(esr, metadata)(batch)):
        np.testing.assert_allclose(mine, direct, atol=1e-5)


def test_first_branches_are_a_smaller_ensemble() -> None:
    esr, batch = ESR(3).eval(), np.random.default_rng(0).random((2, 3, 56, 56), np.float32)
    two = first_branches(torch_predictor(esr)(batch), 2)
    del esr.convolutional_branches[2]
    for mine, alone in zip(two, torch_predictor(esr)(batch)):
        np.testing.assert_allclose(mine, alone, atol=1e-6)
