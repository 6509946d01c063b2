"""The TensorBoard plugin: a loader that imports nothing heavy, and read-only routes."""
