"""Passes: traced once and run often, within the memory there is, leaving the model's state as it was."""
