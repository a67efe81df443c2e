"""The baselines: the same probabilities as scikit-learn's, after saving and loading too, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression as Regression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch.testing import assert_close

from dlpipe.baselines.logistic_regression import LogisticRegression
from dlpipe.baselines.majority_class import MajorityClass
from dlpipe.baselines.nearest_neighbors import NearestNeighbors
from dlpipe.baselines.random_forest import RandomForest
from dlpipe.data.model_caller import ModelCaller
from dlpipe.errors import InputError
from dlpipe.runs.checkpoint import Checkpoints, load_weights

CLASSIFIERS = {
    "majority_class": (MajorityClass, DummyClassifier(strategy="prior"), {}),
    "logistic_regression": (LogisticRegression, Regression(C=0.3), {"inverse_regularization": 0.3}),
    "nearest_neighbors": (NearestNeighbors, KNeighborsClassifier(3), {"num_neighbors": 3, "standardize": True}),
    "by distance": (
        NearestNeighbors,
        KNeighborsClassifier(4, weights="distance"),
        {"num_neighbors": 4, "standardize": True, "weights": "distance"},
    ),
    "random_forest": (
        RandomForest,
        RandomForestClassifier(9, max_depth=4, min_samples_leaf=2, max_features=None, random_state=5),
        {"num_trees": 9, "max_depth": 4, "min_samples_leaf": 2, "max_features": "all"},
    ),
}


def fit(model, seed, **columns):
    """Fit a model as the trainer core.fit does: with the columns that it takes."""
    ModelCaller(model, tuple(columns)).fit(columns, seed)


def points(num_classes: int, size: int = 120) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(num_classes)
    targets = torch.arange(size) % num_classes
    spread = torch.tensor([1.0, 0.5, 3.0, 20.0, 0.1, 1.0])
    return spread * (torch.randn(size, 6, generator=generator) + targets.unsqueeze(1) / 2) + 4, targets


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_neighbors_in_tight_clusters_far_from_the_origin_are_the_nearest(weights):
    generator = torch.Generator().manual_seed(0)
    near = torch.randint(0, 1000, (200, 3), generator=generator) / 1024  # steps that float32 has at 10,000
    targets = torch.randint(0, 3, (200,), generator=generator)
    model = NearestNeighbors(3, num_neighbors=4, weights=weights)

    fit(model, 5, table=near[:150] + 1e4, targets=targets[:150])

    reference = KNeighborsClassifier(4, weights=weights).fit(near[:150].double().numpy(), targets[:150].numpy())
    expected = torch.from_numpy(reference.predict_proba(near[150:].double().numpy())).float()
    assert_close(model(table=near[150:] + 1e4).exp(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_probabilities_are_those_of_scikit_learn(name, num_classes):
    build, reference, options = CLASSIFIERS[name]
    x, y = points(num_classes)
    new, _ = points(num_classes, 40)
    model = build(num_classes, **options)

    fit(model, 5, table=x, targets=y)

    scale = StandardScaler().fit(x) if name not in ("majority_class", "random_forest") else None
    features, asked = (x.numpy(), new.numpy()) if scale is None else (scale.transform(x), scale.transform(new))
    reference.fit(features.astype(np.float32), y)
    expected = reference.predict_proba(asked.astype(np.float32))
    assert_close(model(table=new).softmax(1), torch.from_numpy(expected).float(), atol=2e-4, rtol=0)


def test_of_a_seed_that_is_too_large_for_scikit_learn_the_last_32_bits_are_used():
    x, y = points(3)
    model = RandomForest(3, num_trees=3)

    fit(model, 2**32 + 70, table=x, targets=y)

    expected = RandomForestClassifier(3, random_state=70).fit(x, y).predict_proba(x)
    assert_close(model(table=x).exp(), torch.from_numpy(expected).float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_saved_classifier_is_the_same_in_a_fresh_build(tmp_path, name):
    build, _, options = CLASSIFIERS[name]
    x, y = points(3)
    model, fresh = build(3, **options), build(3, **options)
    fit(model, 5, table=x, targets=y)

    saved = Checkpoints(tmp_path).save(1, model, {"loop": {}, "trainer": {}}, best=True)
    load_weights(saved, fresh)

    assert torch.equal(fresh(table=x), model(table=x))
    assert {value.dtype for value in fresh.state_dict().values()} == {v.dtype for v in model.state_dict().values()}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classes_that_the_training_split_lacks_get_the_least_probability(name):
    build, _, options = CLASSIFIERS[name]
    x, y = points(2)
    model = build(5, **options)

    fit(model, 5, table=x, targets=torch.tensor([1, 3])[y])

    probabilities = model(table=x).exp()
    assert probabilities[:, [0, 2, 4]].max() < 1e-6
    assert_close(probabilities.sum(1), torch.ones(len(x)), atol=1e-5, rtol=0)
    assert model(table=x).isfinite().all()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_single_class_is_always_predicted(name):
    build, _, options = CLASSIFIERS[name]
    x, _ = points(2)
    model = build(2, **options)

    fit(model, 5, table=x, targets=torch.ones(len(x), dtype=torch.int64))

    assert (model(table=x).argmax(1) == 1).all()


def test_targets_to_ignore_are_left_out():
    x, y = points(2)
    wrong = torch.cat([x, 100 * x]), torch.cat([y, torch.full_like(y, -100)])
    model, other = NearestNeighbors(2), NearestNeighbors(2)

    fit(model, 0, table=wrong[0], targets=wrong[1])
    fit(other, 0, table=x, targets=y)

    assert torch.equal(model.examples, other.examples)


def test_weights_of_examples_are_no_features():
    x, y = points(2)
    model = NearestNeighbors(2)

    fit(model, 0, table=x, targets=y, sample_weights=torch.rand(len(y)))

    assert torch.equal(model.examples, x)


def test_images_are_flattened_and_sequences_averaged():
    images = torch.arange(24.0).view(2, 1, 3, 4)
    frames = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], [[5.0, 5.0], [0.0, 0.0], [7.0, 1.0]]])
    targets = torch.tensor([0, 1])
    model = NearestNeighbors(2, num_neighbors=1)

    fit(model, 0, images=images, targets=targets)
    assert torch.equal(model.examples, images.flatten(1))

    fit(model, 0, frames=frames, lengths=torch.tensor([2, 3]), targets=targets)
    assert_close(model.examples, torch.tensor([[2.0, 4.0], [4.0, 2.0]]))


X, Y = points(2, 6)
IDS = torch.ones(6, 4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("options", "columns", "message"),
    [
        ({}, {"a": X, "b": X, "targets": Y}, "features is not given, and the data has the columns a, b; name one"),
        ({"features": "c"}, {"a": X, "targets": Y}, 'features = "c": the data has the columns a'),
        ({}, {"a": X}, "NearestNeighbors needs the column 'targets', but the data has a"),
        (
            {},
            {"a": X, "targets": Y.float()},
            r"the targets have the shape \(6,\) and the type float32; expected a class",
        ),
        ({}, {"a": X, "targets": torch.stack([Y, Y], 1)}, r"the targets have the shape \(6, 2\)"),
        ({}, {"a": X / 0, "targets": Y}, "there are features that are NaN or infinite"),
        ({"num_neighbors": 7}, {"a": X, "targets": Y}, "num_neighbors = 7: there are 6 training examples"),
        (
            {},
            {"ids": IDS, "lengths": torch.full((6,), 4), "targets": Y},
            'the column "ids" holds sequences of ids; expected measurements',
        ),
        (
            {},
            {
                "ids": IDS,
                "lengths": torch.full((6,), 4),
                "pairs": IDS[:, :3],
                "pairs_lengths": torch.full((6,), 3),
                "targets": Y,
            },
            'the columns "ids", "pairs" hold sequences of ids; expected measurements',
        ),
    ],
)
def test_data_that_cannot_be_used_is_refused(options, columns, message):
    with pytest.raises(InputError, match=message):
        NearestNeighbors(2, **options).fit(seed=0, **columns)
