"""When a log is due, and where a fit stands on its run's axis."""
