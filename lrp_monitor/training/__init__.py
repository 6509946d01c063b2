"""What watches a fit: the callback, gradients, histograms, schedule and the writing thread."""
