"""The trained model as inference-only TensorFlow functions, exact."""
