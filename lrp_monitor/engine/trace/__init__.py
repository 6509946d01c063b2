"""One call of a model under trace: its operations, the layer that made each, and what each is to relevance."""
