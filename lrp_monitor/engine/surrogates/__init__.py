"""The model made anew, operation by operation: its values are its own, its gradient is relevance."""
