"""Run a recurrent network of torch over sequences of different lengths.

Axes: B sequences, T positions of the longest, D features, H hidden units of all directions together.
"""

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

LAYERS = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def hidden_states(network: nn.RNNBase, features: Tensor, lengths: Tensor) -> Tensor:
    """Map features (B, T, D), lengths (B,) on the CPU to hidden states (B, T, H); those of the padding are zero."""
    if (lengths == features.size(1)).all():  # packing costs 40 % and is not needed
        hidden: Tensor = network(features)[0]
        return hidden
    # Packed, since the backward direction would otherwise start in the padding.
    packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
    hidden, _ = pad_packed_sequence(network(packed)[0], batch_first=True, total_length=features.size(1))
    return hidden
