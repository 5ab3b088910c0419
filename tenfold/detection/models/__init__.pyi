from .dcfl_head import DcflHead as DcflHead
from .dcfl_head import LevelOutput as LevelOutput
from .dcfl_head import decoded as decoded
from .dcfl_head import priors_of as priors_of
from .deformable import deformable_conv as deformable_conv
