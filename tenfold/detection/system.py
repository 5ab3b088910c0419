"""What the system is. Imports nothing heavy."""

from tenfold.detection import commands
from tenfold.runs.system import Command, System

SYSTEMS = (
    System(
        name="detection",
        title="AI-TOD-R and DCFL: oriented tiny objects",
        paper="arXiv:2412.11582",
        state="geometry, data, evaluation and assignment work; no detector yet",
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
