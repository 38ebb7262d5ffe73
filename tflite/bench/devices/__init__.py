"""Phones and boards: reaching them, what they are, and `benchmark_model` on them."""
