from .html import write_joint_report as write_joint_report
from .html import write_report as write_report
from .tables import format_value as format_value
from .tables import metric_html as metric_html
from .tables import metric_table as metric_table
from .worked import run_example as run_example
