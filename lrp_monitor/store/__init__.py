"""Records of logged steps on disk: format, writer, reader. Knows neither Keras nor TensorFlow."""
