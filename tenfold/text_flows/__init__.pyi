from .bijectors.mixture import MixtureCDF as MixtureCDF
from .bijectors.rosenblatt import MixtureRosenblatt as MixtureRosenblatt
