"""Keras model to the bytes of a package."""
