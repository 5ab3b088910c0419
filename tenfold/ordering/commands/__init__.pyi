from .choices import run_score_choices as run_score_choices
from .entropy import run_entropy as run_entropy
