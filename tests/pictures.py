"""Pictures of the monitor's page in five states, for the documentation.

``python -m tests.pictures FOLDER`` writes one for each, with the three views below each other, as
they are without scripts.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from alxreport.monitor_html import page

from .made_screens import SCREENS

WIDTH = 1100
HEIGHTS = {"fresh": 1_560, "crowded": 3_600}


def main() -> None:
    folder = Path(sys.argv[1])
    browser = shutil.which("chromium") or "chromium"
    with tempfile.TemporaryDirectory() as name:
        for state, made in SCREENS.items():
            html = Path(name) / f"{state}.html"
            # Without the script that makes tabs of them.
            html.write_text(re.sub(r"<script.*?</script>", "", page(made()), flags=re.DOTALL))
            subprocess.run(
                [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                 f"--user-data-dir={name}/browser", f"--screenshot={folder / state}.png",
                 f"--window-size={WIDTH},{HEIGHTS.get(state, 2_840)}", html.as_uri()],
                check=True, capture_output=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
