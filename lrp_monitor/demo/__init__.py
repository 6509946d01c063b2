"""The demo that needs no download: shapes in noise, a planted shortcut and its control."""
