from . import discrepancy as discrepancy
from . import dynamics as dynamics
from . import shifts as shifts
