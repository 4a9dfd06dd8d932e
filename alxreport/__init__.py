"""alxreport: exact learner progress from IOMAD/Moodle for Power BI."""

__version__ = "0.1.0"
