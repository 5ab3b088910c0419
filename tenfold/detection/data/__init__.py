"""Labels and detections in the field's files: AI-TOD-R and DOTA text, DIOR-R, YOLO-OBB, COCO and GeoJSON."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
