"""Sanity checks of heatmaps: do they depend on the weights, on the class, and on what the model really uses?"""
