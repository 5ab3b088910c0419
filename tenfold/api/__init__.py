"""The verbs as Python functions."""

from tenfold.api.verbs import *  # noqa: F403
