"""A small masked model from a large autoregressive one, over its tokens."""
