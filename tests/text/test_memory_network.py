from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe_text.memory_network import MemoryNetwork

VOCABULARY, LABELS = ["<pad>", "<other>", *"abcdefghi"], ["c", "a", "i"]
#: Two stories, of three sentences and of one, each with its question.
TOKENS = torch.tensor([[4, 9, 2, 5, 3, 8, 7, 7, 2], [7, 3, 6, 0, 0, 0, 0, 0, 0]])
SIZES = torch.tensor([[3, 1, 2, 3], [2, 1, 0, 0]])


def tiny(**options) -> MemoryNetwork:
    torch.manual_seed(0)
    return MemoryNetwork(VOCABULARY, LABELS, **{"embed_dim": 5, "hops": 2} | options).eval()


def by_hand(model: MemoryNetwork, tokens: list[int], sizes: list[int]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Answer a question with the equations of the paper, word by word."""
    dim, hops = 5, 2
    embeddings = model.embed.weight.split(dim, 1)
    ages = model.age.weight.split(dim, 1)
    sentences, start = [], 0
    for size in sizes:
        sentences.append(tokens[start : start + size])
        start += size

    def encoded(words, table):
        total = torch.zeros(dim)
        for j, word in enumerate(words, start=1):
            for k in range(1, dim + 1):
                total[k - 1] += 2 * ((1 - j / len(words)) - k / dim * (1 - 2 * j / len(words))) * table[word, k - 1]
        return total

    *story, question = sentences
    state, attention = encoded(question, embeddings[0]), []
    for hop in range(hops):
        inputs, outputs = (
            [encoded(words, embeddings[n]) + ages[n][len(story) - 1 - i] for i, words in enumerate(story)]
            for n in (hop, hop + 1)
        )
        powers = torch.stack([(state @ each).exp() for each in inputs])
        weights = powers / (powers.sum() + 1)  # exp(0) of the empty memory
        attention.append(weights)
        state = state + sum(weight * each for weight, each in zip(weights, outputs, strict=True))
    answers = [VOCABULARY.index(label) for label in LABELS]
    return embeddings[hops][answers] @ state, attention


@pytest.mark.parametrize("row", [0, 1])
def test_it_agrees_with_the_equations_of_the_paper(row):
    model = tiny()
    tokens, sizes = TOKENS[row, : int(SIZES[row].sum())].tolist(), [size for size in SIZES[row].tolist() if size]
    torch.nn.init.normal_(model.embed.weight, std=1)  # large weights, far from uniform attention

    logits, attention = model(TOKENS, SIZES)[row], model.sentence_attention(TOKENS, SIZES)[row]

    expected, weights = by_hand(model, tokens, sizes)
    assert_close(logits, expected)
    assert_close(attention[:, : len(sizes) - 1], torch.stack(weights))
    assert attention[:, len(sizes) - 1 :].abs().max() == 0  # neither to the question nor to the padding


@pytest.mark.parametrize("attention", ["softmax", "linear"])
def test_padding_does_not_change_the_scores(attention):
    model = tiny(attention=attention)

    logits = model(TOKENS, SIZES)

    assert logits.shape == (2, 3)
    assert_close(model(F.pad(TOKENS, (0, 4)), F.pad(SIZES, (0, 2))), logits)
    assert_close(model(F.pad(TOKENS, (0, 4)), SIZES), logits)
    assert_close(model(TOKENS[1:, :3], SIZES[1:, :2]), logits[1:])


def test_linear_attention_is_the_product_with_the_question():
    model = tiny(attention="linear", position_encoding=False, temporal_encoding=False, hops=1)
    question, sentence = (model.embed.weight[words, :5].sum(0) for words in ([6], [7, 3]))

    attention = model.sentence_attention(TOKENS[1:, :3], SIZES[1:, :2])

    assert_close(attention[0, 0, 0], question @ sentence)


@pytest.mark.parametrize("encoding", [True, False])
def test_the_order_of_words_has_an_influence_with_position_encoding_only(encoding):
    model = tiny(position_encoding=encoding)
    exchanged = TOKENS[:1, [1, 0, 2, 3, 4, 5, 6, 7, 8]]

    same = torch.allclose(model(TOKENS[:1], SIZES[:1]), model(exchanged, SIZES[:1]))

    assert same != encoding


@pytest.mark.parametrize("encoding", [True, False])
def test_the_order_of_sentences_has_an_influence_with_temporal_encoding_only(encoding):
    model = tiny(temporal_encoding=encoding)
    exchanged, sizes = TOKENS[:1, [3, 0, 1, 2, 4, 5, 6, 7, 8]], torch.tensor([[1, 3, 2, 3]])

    same = torch.allclose(model(TOKENS[:1], SIZES[:1]), model(exchanged, sizes))

    assert same != encoding


def test_sentences_beyond_the_memory_have_no_influence():
    model = tiny(memory_size=2)
    changed = TOKENS.clone()
    changed[0, 0] = 6  # in the first of three sentences

    assert_close(model(changed, SIZES), model(TOKENS, SIZES))
    assert not torch.allclose(tiny()(changed, SIZES), tiny()(TOKENS, SIZES))


def test_without_hops_only_the_question_has_an_influence():
    model = tiny(hops=0)

    logits = model(TOKENS, SIZES)

    assert_close(logits[:1], model(TOKENS[:1, 6:], torch.tensor([[3]])))
    assert model.sentence_attention(TOKENS, SIZES).shape == (2, 0, 4)


def test_empty_memories_make_sentences_older_in_training_only():
    model = tiny(empty_memories=0.999)
    model.age.weight.data = torch.arange(50.0)[:, None].expand(50, 15).clone()
    model.embed.weight.data.zero_()
    seen = []
    model.age.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))

    model(TOKENS, SIZES)
    model.train()(TOKENS, SIZES)

    assert seen[0][0, :3].tolist() == [2, 1, 0]
    assert seen[1][0, :3].tolist() == [5, 3, 1]  # one more for each sentence from there to the end


def test_empty_memories_are_as_frequent_as_said():
    model = tiny(empty_memories=0.25).train()
    seen = []
    model.age.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))

    model(TOKENS[1:].expand(2000, 9), SIZES[1:].expand(2000, 4))

    assert seen[0][:, 0].float().mean().item() == pytest.approx(0.25, abs=0.04)


def test_it_learns_a_batch_by_heart_and_padding_stays_zero():
    model = tiny().train()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    targets = torch.tensor([2, 0])

    for _ in range(300):
        optimizer.zero_grad()
        F.cross_entropy(model(TOKENS, SIZES), targets).backward()
        optimizer.step()

    assert model.eval()(TOKENS, SIZES).argmax(1).tolist() == [2, 0]
    assert model.embed.weight[0].abs().max() == 0


def test_gradients_reach_every_embedding():
    model = tiny()

    model(TOKENS, SIZES).logsumexp(1).sum().backward()

    for table in (model.embed, model.age):
        for part in table.weight.grad.split(5, 1):
            assert part.abs().sum() > 0


def test_a_word_that_training_does_not_have_means_nothing():
    model = tiny()
    with_other = torch.tensor([[4, 9, 2, 5, 3, 8, 7, 7, 1]])

    assert_close(model(with_other, SIZES[:1]), model(TOKENS[:1] * (with_other != 1), SIZES[:1]))
