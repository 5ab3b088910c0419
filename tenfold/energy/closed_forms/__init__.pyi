from .gaussian_mixtures import GaussianMixture as GaussianMixture
from .gaussian_mixtures import product_at as product_at
from .kernels import KernelDensity as KernelDensity
from .kernels import kernel_densities as kernel_densities
from .likelihoods import LinearLikelihood as LinearLikelihood
from .quadrature import Moments as Moments
from .quadrature import quadrature_moments as quadrature_moments
