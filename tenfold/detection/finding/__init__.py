"""Boxes from what a network says: decoding, tiles, pictures, and the files of the field."""
