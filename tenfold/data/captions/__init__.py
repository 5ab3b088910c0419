"""Images with captions, on canvases of several aspect ratios."""
