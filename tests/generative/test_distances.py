import pytest
import torch
from torch.testing import assert_close

from dlpipe_generative.distances import (
    bootstrap_deviation,
    coverage,
    frechet_distance,
    kernel_distance,
    pairwise_distances,
    precision_and_recall,
)


def features(count, mean=0.0, scale=1.0, seed=0, width=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator) * scale + mean


def test_the_frechet_distance_of_normal_distributions_agrees_with_the_formula():
    first, second = features(20_000), features(20_000, mean=2.0, scale=3.0, seed=1)

    # Independent dimensions: the sum of (difference of means)² + (difference of deviations)².
    assert_close(frechet_distance(first, second), 3 * (2.0**2 + (3 - 1) ** 2), atol=0.6, rtol=0)


def test_the_frechet_distance_agrees_with_scipy():
    from scipy.linalg import sqrtm

    first, second = features(50) @ torch.randn(3, 3, generator=torch.Generator().manual_seed(3)), features(70, seed=1)
    one, other = (some.double().T.cov() for some in (first, second))
    means = (first.double().mean(0) - second.double().mean(0)).square().sum()

    expected = means + one.trace() + other.trace() - 2 * torch.from_numpy(sqrtm((one @ other).numpy()).real).trace()

    assert_close(frechet_distance(first, second), float(expected))


def test_the_distance_of_a_set_to_itself_is_0():
    assert abs(frechet_distance(features(50), features(50))) < 1e-6


def test_the_kernel_distance_of_independent_samples_is_unbiased_and_grows_with_the_difference():
    same = [kernel_distance(features(40, seed=seed), features(40, seed=seed + 100)) for seed in range(60)]

    assert abs(sum(same) / len(same)) < 0.1
    assert kernel_distance(features(40), features(40, mean=1.0, seed=1)) > 1


@pytest.mark.parametrize("count", [20, 80])
def test_the_kernel_distance_of_balanced_classes_is_too_low(count):
    balanced = 2.0 * (torch.arange(count) % 2)[:, None]

    # The kernel is 125 for two samples of the second class, and otherwise 1: 32 on average, but 63 of one with itself.
    assert_close(kernel_distance(balanced, balanced), 2 * (32 - 63) / (count - 1))


def test_the_kernel_distance_is_the_sum_over_pairs():
    first, second = features(4), features(5, seed=1)

    def kernel(x, y):
        return float((x.double() @ y.double() / 3 + 1) ** 3)

    one = [kernel(first[i], first[j]) for i in range(4) for j in range(4) if i != j]
    other = [kernel(second[i], second[j]) for i in range(5) for j in range(5) if i != j]
    cross = [kernel(x, y) for x in first for y in second]
    expected = sum(one) / 12 + sum(other) / 20 - 2 * sum(cross) / 20
    assert_close(kernel_distance(first, second), expected)


def test_a_generator_of_a_single_good_sample_has_precision_but_no_recall():
    real = features(200)
    generated = real[:1] + features(100, scale=1e-3, seed=1)

    precision, recall = precision_and_recall(real, generated)

    assert precision == 1
    assert recall < 0.05
    assert coverage(real, generated) < 0.1


def test_the_same_distribution_is_covered_and_a_different_one_is_not():
    real = features(300)

    assert coverage(real, features(300, seed=1)) > 0.9
    assert coverage(real, features(300, mean=9.0, seed=1)) == 0
    assert precision_and_recall(real, features(300, mean=9.0, seed=1)) == (0, 0)


def test_the_bootstrap_deviation_of_a_mean_is_its_standard_error_within_classes():
    classes = torch.arange(400) % 3
    samples = features(400, scale=3.0, width=1) + 20 * classes[:, None]

    def mean(some):
        return float(some.mean())

    found = bootstrap_deviation(mean, samples, classes, seed=3)

    assert abs(found / (3 / 20) - 1) < 0.3  # σ / √N, within three relative errors of a tenth
    assert found == bootstrap_deviation(mean, samples, classes, seed=3)
    assert found != bootstrap_deviation(mean, samples, classes, seed=4)


def test_distances_in_a_tight_cluster_far_from_the_origin_are_exact():
    near = torch.randint(0, 1000, (40, 3), generator=torch.Generator().manual_seed(0)) / 1024
    far = near + 1e4  # steps of 1/1024 are exact in float32 there

    assert_close(pairwise_distances(far, far), (near[:, None] - near).double().norm(dim=2), atol=1e-6, rtol=0)
    assert coverage(far, far[:1]) == coverage(near, near[:1]) < 0.3
    assert precision_and_recall(far[:20], far[20:]) == precision_and_recall(near[:20], near[20:])


def test_a_sample_is_not_its_own_nearest_neighbor():
    real = torch.tensor([[0.0], [1.0], [3.0]])  # their nearest neighbors are 1, 1 and 2 away

    assert coverage(real, torch.tensor([[5.0]]), neighbors=1) == 1 / 3
    assert coverage(real, torch.tensor([[5.1]]), neighbors=1) == 0
    assert precision_and_recall(real, torch.tensor([[-0.9], [4.9], [5.1]]), neighbors=1)[0] == 2 / 3


def test_the_frechet_distance_of_features_with_a_singular_covariance_agrees_with_the_formula():
    first = torch.randn(3000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64).expand(-1, 50) * 1e3
    second = torch.randn(20, 50, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 1e-6
    # Against a distribution of almost no spread, only the means and the spread of the first remain.
    expected = (first.mean(0) ** 2).sum() + first.T.cov().trace()

    assert_close(frechet_distance(first, first), 0.0, atol=1e-3, rtol=0)
    assert_close(frechet_distance(first, second), float(expected), rtol=1e-6, atol=0)


def test_neighbors_are_found_without_what_torch_refuses_on_a_gpu_where_results_must_be_deterministic():
    real = features(20)

    with torch.profiler.profile() as profile:
        coverage(real, real)

    assert not [event.key for event in profile.key_averages() if "kthvalue" in event.key]
