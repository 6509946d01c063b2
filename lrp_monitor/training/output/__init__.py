"""Where records go: the run logger, its writer thread, the event file."""
