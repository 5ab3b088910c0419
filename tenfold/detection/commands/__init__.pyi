from .data import run_data as run_data
from .score import run_score_detections as run_score_detections
