"""Rules and composites, which say what layer takes which rule, and the weighted maps that they share relevance over."""
