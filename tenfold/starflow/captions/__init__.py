"""What a flow on captioned compositions shows of its captions: an independent judge, shares, and pictures."""
