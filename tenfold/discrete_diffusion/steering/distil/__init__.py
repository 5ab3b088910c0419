"""A masked model from an autoregressive teacher of the same characters, beside the data."""
