from . import bad_sets as bad_sets
from . import expected as expected
from . import log_power as log_power
from . import samplers as samplers
from . import scale as scale
from . import slabs as slabs
from . import transition as transition
