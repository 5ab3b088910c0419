from . import hopping as hopping
from . import potentials as potentials
from . import presets as presets
