"""What is known exactly: lattices in closed form and by transfer matrices, small laws by enumeration, proven optima."""
