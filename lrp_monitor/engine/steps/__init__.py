"""Which step each recorded operation takes when it is made anew, so that its gradient carries relevance."""
