"""Machines that draw: auto-encoders, variational auto-encoders and generative adversarial nets."""
