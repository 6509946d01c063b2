"""Heatmaps as pictures: colours, films, charts."""
