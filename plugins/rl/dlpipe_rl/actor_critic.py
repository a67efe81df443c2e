"""A policy and a value function (actor-critic).

Sources: Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement Learning",
https://arxiv.org/abs/1602.01783; initialization as in Huang et al. 2022, "The 37 Implementation Details of
Proximal Policy Optimization", https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/.
Departs from the latter: convolutions keep torch's initialization; only fully connected layers have an orthogonal one.
Axes: B observations, A actions, F features, K components of a continuous action.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dlpipe.fields import Positive
from dlpipe_rl.action_heads import action_head
from dlpipe_rl.encoder import encoder, to_float
from dlpipe_rl.policy_network import orthogonal
from dlpipe_rl.running_normalization import normalization


class ActorCritic(nn.Module):
    """A distribution over actions and a state value.

    For images, actor and critic share all layers but the last; for vectors, each has layers of its own.

    Args:
        obs_shape: of one observation; three axes are an image, channels first.
        num_actions: A; 0 if actions are continuous.
        action_shape: of a continuous action.
        hidden: units of the fully connected layers.
        normalize_obs: scale observations to mean 0 and standard deviation 1 over those of the training so far.
    """

    def __init__(
        self,
        obs_shape: Sequence[int],
        num_actions: int,
        action_shape: Sequence[int],
        *,
        hidden: Sequence[Positive] = (64, 64),
        normalize_obs: bool = False,
    ) -> None:
        super().__init__()
        self.normalize = normalization(obs_shape, normalize_obs)
        shared = len(obs_shape) == 3
        activation = nn.ReLU if shared else nn.Tanh
        self.encode, width = encoder(obs_shape, hidden, linear=orthogonal, activation=activation)
        self.encode_value = None if shared else encoder(obs_shape, hidden, linear=orthogonal, activation=activation)[0]
        self.head = action_head(width, num_actions, action_shape)
        self.critic = nn.Linear(width, 1)
        nn.init.orthogonal_(self.critic.weight)
        nn.init.zeros_(self.critic.bias)

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Map observations (B, *obs_shape) to logits (B, A), or means and log deviations (B, 2, K), and values (B,)."""
        obs = self.normalize(to_float(obs))
        features = self.encode(obs)  # (B, F)
        value_features = features if self.encode_value is None else self.encode_value(obs)
        return self.head(features), self.critic(value_features).squeeze(1)

    def predict(self, outputs: tuple[Tensor, Tensor]) -> Tensor:
        """Return the most probable actions."""
        return self.head.mode(outputs[0])

    def value(self, outputs: tuple[Tensor, Tensor]) -> Tensor:
        """Return the values (B,)."""
        return outputs[1]
