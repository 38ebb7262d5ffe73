"""The model in Keras 3, in `keras.ops` only."""
