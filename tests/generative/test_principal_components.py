import numpy as np
import torch
from sklearn.decomposition import PCA
from torch.testing import assert_close

from dlpipe_generative.principal_components import Components


def images():
    return torch.rand(30, 2, 3, 4, generator=torch.Generator().manual_seed(0))


def test_what_is_left_of_images_is_what_scikit_learn_leaves():
    rows = images().flatten(1).double().numpy()
    pca = PCA(5, svd_solver="full").fit(rows)

    again = Components.of(images(), 5).again(images())

    assert again.shape == (30, 2, 3, 4)
    assert_close(again.flatten(1), torch.from_numpy(pca.inverse_transform(pca.transform(rows))))


def test_codes_are_uncorrelated_the_last_of_the_largest_variance():
    codes = Components.of(images(), 3).codes(images()).numpy()

    covariance = np.cov(codes.T)

    assert np.allclose(covariance - np.diag(covariance.diagonal()), 0, atol=1e-9)
    assert list(covariance.diagonal()) == sorted(covariance.diagonal())


def test_all_components_leave_everything():
    assert_close(Components.of(images(), 24).again(images()), images().double())
