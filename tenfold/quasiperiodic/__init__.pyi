from .dynamics.autograd import torch_moments as torch_moments
from .dynamics.autograd import torch_states as torch_states
from .dynamics.averages import time_averaged as time_averaged
from .dynamics.bound import transfer_bound as transfer_bound
from .dynamics.bound import transport_bound as transport_bound
from .dynamics.evolution import BoxTooSmallError as BoxTooSmallError
from .dynamics.evolution import Evolution as Evolution
from .dynamics.evolution import evolve as evolve
from .dynamics.front import front_radius as front_radius
from .dynamics.transport import transport_exponents as transport_exponents
from .operators import hopping as hopping
from .operators import potentials as potentials
from .operators import presets as presets
from .operators.boxes import Box as Box
from .operators.hopping import Hopping as Hopping
from .operators.hopping import Kernel as Kernel
from .operators.operators import LongRange as LongRange
from .operators.phases import lattice_orbit as lattice_orbit
from .operators.phases import skew_orbit as skew_orbit
from .sets.counting import (
    HitCount as HitCount,
)
from .sets.counting import (
    count as count,
)
from .sets.counting import (
    count_over_theta as count_over_theta,
)
from .sets.counting import (
    first_hit as first_hit,
)
from .sets.counting import (
    hits as hits,
)
from .sets.counting import (
    running_counts as running_counts,
)
from .sets.covering import Cover as Cover
from .sets.discrepancies import (
    Discrepancy as Discrepancy,
)
from .sets.discrepancies import (
    discrepancy as discrepancy,
)
from .sets.discrepancies import (
    periodic_discrepancy as periodic_discrepancy,
)
from .sets.exponents import Exponent as Exponent
from .sets.exponents import fit_exponent as fit_exponent
from .sets.floor_sums import floor_sum as floor_sum
from .sets.measure import Measure as Measure
from .sets.measure import halfspace_volume as halfspace_volume
from .sets.polynomials import Poly as Poly
from .sets.polynomials import variables as variables
from .sets.separation import (
    Bound as Bound,
)
from .sets.separation import (
    good_box_distance as good_box_distance,
)
from .sets.separation import (
    separation_bound as separation_bound,
)
from .sets.sets import Set as Set
from .sets.shapes import (
    ball as ball,
)
from .sets.shapes import (
    band as band,
)
from .sets.shapes import (
    box as box,
)
from .sets.shapes import (
    from_sympy as from_sympy,
)
from .sets.shapes import (
    halfspace as halfspace,
)
from .sets.shapes import (
    intervals as intervals,
)
from .sets.shapes import (
    polytope as polytope,
)
from .sets.shapes import (
    slab as slab,
)
from .sets.shapes import (
    trigonometric_sublevel as trigonometric_sublevel,
)
from .sets.slabs import WorstSlab as WorstSlab
from .sets.slabs import worst_slab as worst_slab
from .sets.text import parse_set as parse_set
from .spectral.goodbox import (
    determinant_of as determinant_of,
)
from .spectral.goodbox import (
    determinant_scan as determinant_scan,
)
from .spectral.goodbox import (
    good_box as good_box,
)
from .spectral.goodbox import (
    theta_scan as theta_scan,
)
from .spectral.green import green_columns as green_columns
from .spectral.green import green_decay as green_decay
from .spectral.lyapunov import lyapunov_exponents as lyapunov_exponents
from .spectral.spectrum import bloch_spectrum as bloch_spectrum
from .spectral.spectrum import eigenvalues as eigenvalues
