"""A systemd user unit for a node: written into its folder, installed by whoever runs it."""

import sys
from pathlib import Path
from typing import Final

from federation.whole_files import keep_file

_UNIT: Final = """\
# Installs as: systemctl --user enable --now {path}
# It goes on without anybody being logged in after: loginctl enable-linger
[Unit]
Description=Entrepot node {party} of {federation}
After=network-online.target

[Service]
ExecStart={python} -m experiments.cli node run {folder}
Restart=on-failure
RestartSec=15
# Nothing would change: settings, policy or integrity say no.
RestartPreventExitStatus=2 10 30
NoNewPrivileges=yes
UMask=0077

[Install]
WantedBy=default.target
"""


def write_unit(folder: Path, federation: str, party: str) -> Path:
    """The unit stands in the node's folder; return where."""
    place = folder.resolve()
    path = place / f"entrepot-{party}.service"
    text = _UNIT.format(
        path=_quoted(str(path)),
        party=party,
        federation=federation,
        python=_quoted(sys.executable),
        folder=_quoted(str(place)),
    )
    keep_file(path, text.encode(), 0o644)
    return path


def _quoted(word: str) -> str:
    """Return a word as systemd reads it: `%` and `$` mean nothing, spaces do not part it."""
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{plain}"'
