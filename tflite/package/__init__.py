"""The packaged `.tflite`: a flatbuffer with vocabulary, labels and properties."""
