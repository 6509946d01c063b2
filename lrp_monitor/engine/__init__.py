"""Propagation rules and the engine that runs them: knows Keras, nothing of training or files."""
