"""Pretraining: plain text -> shards -> bundle."""
