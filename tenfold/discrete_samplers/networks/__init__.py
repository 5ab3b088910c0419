"""Networks G(τ, i | x, t) that are locally equivariant, G(τ, i | x) = −G(x_i, i | Swap(x, i, τ)): each from hollow
features, whose row i does not depend on x_i.
"""
