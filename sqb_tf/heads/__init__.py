"""Heads: what each one learns from, how its outputs become results, and how they are scored."""
