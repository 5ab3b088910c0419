"""Networks that read in an order, their streams and texts, and what scores texts by them."""
