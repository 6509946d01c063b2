"""What is logged of the probes: heatmaps, statistics per probe, layers, alerts."""
