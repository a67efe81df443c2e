import torch
from torch.distributions import Categorical as Choices
from torch.distributions import Independent, Normal
from torch.testing import assert_close

from dlpipe_rl.action_heads import Categorical, Gaussian, action_head


def features():
    return torch.randn(5, 7, generator=torch.Generator().manual_seed(0))


def test_the_head_matches_the_action_space():
    assert isinstance(action_head(7, 3, ()), Categorical)
    assert isinstance(action_head(7, 0, (2,)), Gaussian)


def test_the_first_policy_is_nearly_uniform():
    assert Categorical(7, 3)(features()).softmax(-1).sub(1 / 3).abs().max() < 0.02
    assert Gaussian(7, (2,))(features())[:, 0].abs().max() < 0.1


def test_the_categorical_head_matches_torch_distributions():
    head = Categorical(7, 3)
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    actions = torch.tensor([2, 0])
    known = Choices(logits=logits)

    assert_close(head.log_prob(logits, actions), known.log_prob(actions))
    assert_close(head.entropy(logits), known.entropy())
    assert head.mode(logits).tolist() == [1, 2]


def test_discrete_actions_are_sampled_with_their_probabilities():
    logits = torch.tensor([[0.1, 0.6, 0.3]]).log().expand(5000, 3)

    drawn = Categorical(7, 3).sample(logits, torch.Generator().manual_seed(0))

    assert_close(torch.bincount(drawn) / 5000, torch.tensor([0.1, 0.6, 0.3]), atol=0.02, rtol=0)


def test_the_gaussian_head_matches_torch_distributions():
    head = Gaussian(7, (2, 3))
    with torch.no_grad():
        head.log_std.copy_(torch.linspace(-1, 1, 6))
    choice = head(features())
    known = Independent(Normal(choice[:, 0], choice[:, 1].exp()), 1)
    actions = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(1))

    assert_close(head.log_prob(choice, actions), known.log_prob(actions.flatten(1)))
    assert_close(head.entropy(choice), known.entropy())
    assert head.mode(choice).equal(choice[:, 0].view(5, 2, 3))


def test_continuous_actions_are_sampled_with_mean_and_deviation():
    head = Gaussian(7, (2,))
    choice = torch.tensor([[3.0, -1.0], [0.0, -2.0]]).expand(5000, 2, 2)

    drawn = head.sample(choice, torch.Generator().manual_seed(0))

    assert_close(drawn.mean(0), torch.tensor([3.0, -1.0]), atol=0.05, rtol=0)
    assert_close(drawn.std(0), torch.tensor([1.0, 0.135]), atol=0.03, rtol=0)
