"""Networks N(y, c, label) -> the shape of y: smooth, so that they can be differentiated twice."""
