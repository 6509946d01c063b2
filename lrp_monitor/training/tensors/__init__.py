"""What is logged of weights and gradients: names, histograms, the captured training step."""
