"""What a picture says of itself to a page that has a dark theme. Imports nothing heavy: reports read it."""

INK_ALONE = "tenfold: ink alone"  # the comment of a PNG of lines and letters, whose lightness may be turned round
