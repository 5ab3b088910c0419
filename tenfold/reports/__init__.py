"""Run folders as tables, pictures and self-contained HTML pages. Imports no PyTorch."""

from tenfold.reports.html import write_joint_report, write_report
from tenfold.reports.tables import format_value, metric_html, metric_table

__all__ = ["format_value", "metric_html", "metric_table", "write_joint_report", "write_report"]
