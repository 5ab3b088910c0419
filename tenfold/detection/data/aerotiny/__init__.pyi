from .config import AeroTinyConfig as AeroTinyConfig
from .scene import AeroTiny as AeroTiny
from .scene import Scene as Scene
from .writing import write_aerotiny as write_aerotiny
