from .choices import run_score_choices as run_score_choices
