"""The model in Keras 3, on `keras.ops` alone."""
