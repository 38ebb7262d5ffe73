"""Pretraining: plain text to shards to a bundle."""
