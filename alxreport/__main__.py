"""Lets ``python -m alxreport`` do what ``alxreport`` does."""

from alxreport.cli import main

main()
