import numpy as np
import torch
from sklearn.decomposition import PCA
from torch.testing import assert_close

from dlpipe_generative.principal_components import PrincipalComponents


def images():
    return torch.rand(30, 2, 3, 4, generator=torch.Generator().manual_seed(0))


def test_reconstructions_agree_with_scikit_learn():
    rows = images().flatten(1).double().numpy()
    pca = PCA(5, svd_solver="full").fit(rows)

    reconstruct = PrincipalComponents.fit(images(), 5).reconstruct(images())

    assert reconstruct.shape == (30, 2, 3, 4)
    assert_close(reconstruct.flatten(1), torch.from_numpy(pca.inverse_transform(pca.transform(rows))))


def test_codes_are_uncorrelated_and_sorted_by_variance():
    codes = PrincipalComponents.fit(images(), 3).transform(images()).numpy()

    covariance = np.cov(codes.T)

    assert np.allclose(covariance - np.diag(covariance.diagonal()), 0, atol=1e-9)
    assert list(covariance.diagonal()) == sorted(covariance.diagonal())


def test_all_components_reconstruct_the_images():
    assert_close(PrincipalComponents.fit(images(), 24).reconstruct(images()), images().double())
