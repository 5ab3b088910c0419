from .compare import run_compare as run_compare
from .solve import run_solve as run_solve
