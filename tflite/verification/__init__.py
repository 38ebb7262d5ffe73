"""The packaged bytes against the Keras model, on held-out text."""
