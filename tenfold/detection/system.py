"""What the system is. Imports nothing heavy."""

from tenfold import detection
from tenfold.detection import commands
from tenfold.detection.options import PictureDetection
from tenfold.detection.recipes import RECIPES, DetectorRecipe
from tenfold.detection.results import JOBS
from tenfold.runs.system import Command, System, Verb

_DETECT = Verb(
    "find oriented objects in pictures of any size: annotated pictures, DOTA text, COCO JSON, GeoJSON",
    PictureDetection,
    inputs="PHOTOS",
    examples="  tenfold detect runs/d photos --out found\n"
    "  tenfold detect runs/d town.tif --tile 512 --halo 64 --json\n",
)
SYSTEMS = (
    System(
        name="detection",
        title="AI-TOD-R and DCFL: oriented tiny objects",
        paper="arXiv:2412.11582",
        state="works; assigners alone are recorded, and learning from pictures without labels is missing",
        task=lambda: detection.DetectorTask,
        model=lambda: detection.Detector,
        published=lambda: detection.read_published,
        verbs={"detect": _DETECT},
        recipes=RECIPES,
        plain=DetectorRecipe(),
        jobs=JOBS,
        benchmarks=("detection",),
        commands={
            "score-detections": Command(
                "anybody's oriented boxes against labels: AP by size, recalls, errors",
                lambda argv: commands.run_score_detections(argv),
            ),
            "explain-assignment": Command(
                "which objects of labels get positive priors, and which get none",
                lambda argv: commands.run_explain_assignment(argv),
            ),
            "data": Command(
                "labels of oriented boxes, looked over, converted, or rendered with pictures",
                lambda argv: commands.run_data(argv),
            ),
        },
    ),
)
