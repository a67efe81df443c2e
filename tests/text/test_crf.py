from itertools import pairwise, product

import torch
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe_text.crf import LinearChainCRF

LENGTHS = torch.tensor([5, 3, 1, 4, 2, 5, 3])  # B = 7, T = 5


def random_crf(num_labels=3):
    torch.manual_seed(0)
    crf = LinearChainCRF(num_labels)
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter, std=2)
    return crf


def random_problem(num_labels=3):
    """Return logits (7, 5, K) and targets (7, 5), padded with -100."""
    torch.manual_seed(1)
    targets = torch.randint(num_labels, (7, 5))
    return torch.randn(7, 5, num_labels) * 2, targets.masked_fill(torch.arange(5) >= LENGTHS[:, None], -100)


def score_by_hand(crf, logits, path):
    """Score one path, a list of labels, over logits (T, K), in plain arithmetic."""
    score = crf.start[path[0]] + crf.end[path[-1]]
    score = score + sum(logits[t, label] for t, label in enumerate(path))
    return score + sum(crf.transitions[a, b] for a, b in pairwise(path))


def score_all_paths(crf, logits):
    """Return all paths over logits (T, K) and their scores."""
    paths = list(product(range(logits.size(1)), repeat=logits.size(0)))
    return paths, torch.stack([score_by_hand(crf, logits, path) for path in paths])


def test_partition_function_is_the_sum_over_all_paths():
    crf, (logits, _) = random_crf(), random_problem()

    log_partition = crf.log_partition(logits, LENGTHS)

    for b, length in enumerate(LENGTHS):
        _, scores = score_all_paths(crf, logits[b, :length])
        assert_close(log_partition[b], scores.logsumexp(dim=0))


def test_likelihood_is_the_probability_of_the_targets_among_all_paths():
    crf, (logits, targets) = random_crf(), random_problem()

    log_likelihood = crf.log_likelihood(logits, targets, LENGTHS)

    for b, length in enumerate(LENGTHS):
        _, scores = score_all_paths(crf, logits[b, :length])
        expected = score_by_hand(crf, logits[b], targets[b, :length].tolist()) - scores.logsumexp(dim=0)
        assert_close(log_likelihood[b], expected)


def test_an_unknown_label_may_be_any_label():
    crf, (logits, targets) = random_crf(), random_problem()
    targets[0, 2] = targets[1, 0] = targets[2, 0] = -100

    found = crf.marginal_log_likelihood(logits, targets, LENGTHS)

    for b, length in enumerate(LENGTHS):
        paths, scores = score_all_paths(crf, logits[b, :length])
        wanted = targets[b, :length].tolist()
        right = [all(target in (-100, label) for target, label in zip(wanted, path, strict=True)) for path in paths]
        assert_close(found[b], scores[torch.tensor(right)].logsumexp(dim=0) - scores.logsumexp(dim=0))


def test_gradient_of_the_likelihood_agrees_with_the_sum_over_all_paths():
    crf, (logits, targets) = random_crf(), random_problem()
    crf.log_likelihood(logits, targets, LENGTHS).sum().backward()
    gradients = [parameter.grad.clone() for parameter in crf.parameters()]
    crf.zero_grad()

    for b, length in enumerate(LENGTHS):
        _, scores = score_all_paths(crf, logits[b, :length])
        (score_by_hand(crf, logits[b], targets[b, :length].tolist()) - scores.logsumexp(dim=0)).backward()

    for gradient, parameter in zip(gradients, crf.parameters(), strict=True):
        assert_close(gradient, parameter.grad)


def test_viterbi_finds_the_best_of_all_paths():
    crf, (logits, _) = random_crf(), random_problem()

    found = crf.viterbi(logits, LENGTHS)

    for b, length in enumerate(LENGTHS):
        paths, scores = score_all_paths(crf, logits[b, :length])
        assert found[b, :length].tolist() == list(paths[scores.argmax()])


def test_with_zero_transitions_the_crf_equals_a_softmax():
    logits, targets = random_problem(num_labels=6)
    crf = LinearChainCRF(num_labels=6)

    loss = -crf.log_likelihood(logits, targets, LENGTHS).sum() / LENGTHS.sum()

    assert_close(loss, F.cross_entropy(logits.flatten(0, 1), targets.flatten()))
    real = targets != -100
    assert crf.viterbi(logits, LENGTHS)[real].equal(logits.argmax(dim=2)[real])


def test_padding_changes_nothing():
    crf, (logits, targets) = random_crf(), random_problem()
    nonsense = F.pad(logits, (0, 0, 0, 2), value=9.0), F.pad(targets, (0, 2), value=-100)

    assert_close(crf.log_likelihood(*nonsense, LENGTHS), crf.log_likelihood(logits, targets, LENGTHS))
    assert crf.viterbi(nonsense[0], LENGTHS)[:, :5].equal(crf.viterbi(logits, LENGTHS))


def test_huge_logits_do_not_overflow():
    crf, (logits, _) = random_crf(), random_problem()
    logits = (logits * 1000).requires_grad_()

    log_partition = crf.log_partition(logits, LENGTHS)
    log_partition.sum().backward()

    for b, length in enumerate(LENGTHS):
        _, scores = score_all_paths(crf, logits[b, :length])
        assert_close(log_partition[b], scores.logsumexp(dim=0))
    assert logits.grad.isfinite().all()
    assert crf.transitions.grad.isfinite().all()


def test_the_marginals_are_the_shares_of_all_sequences():
    torch.manual_seed(4)
    crf = LinearChainCRF(3)
    for parameter in crf.parameters():
        parameter.data = torch.randn_like(parameter)
    logits, lengths = torch.randn(2, 4, 3), torch.tensor([4, 2])

    found = crf.marginals(logits, lengths)

    for row, length in enumerate(lengths.tolist()):
        expected = torch.zeros(length, 3)
        for labels in product(range(3), repeat=length):
            targets, alone = torch.tensor([labels]), logits[row : row + 1, :length]
            share = crf.log_likelihood(alone, targets, torch.tensor([length])).exp().item()
            for position, label in enumerate(labels):
                expected[position, label] += share
        assert_close(found[row, :length], expected)
