from .data import run_data as run_data
from .explain import run_explain_assignment as run_explain_assignment
from .score import run_score_detections as run_score_detections
