"""Discrete neural flow samplers (arXiv 2505.17741, 2502.10843): Markov jump processes that carry a prior to a target.

Rates are R_t(τ, i | x) = [G_t(τ, i | x)]₊ of a locally equivariant G, p_t ∝ η^{1−t} ρ^t their path.
"""
