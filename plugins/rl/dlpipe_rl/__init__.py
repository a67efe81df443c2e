"""Reinforcement learning for dlpipe."""
