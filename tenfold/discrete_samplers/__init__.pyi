from .system import SYSTEMS as SYSTEMS
