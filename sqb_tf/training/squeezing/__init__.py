"""Squeezing: a trained encoder becomes a smaller one that computes nearly the same states."""
