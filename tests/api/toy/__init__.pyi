from .example import worked as worked
from .model import Line as Line
from .task import LineTask as LineTask
from .task import read_published as read_published
