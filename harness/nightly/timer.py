"""Renders the systemd units that start a nightly run. Pure."""

import re
from collections.abc import Mapping, Sequence

from harness.spec.nightly import NightlySpec


def render_units(spec: NightlySpec, argv: Sequence[str], folder: str) -> Mapping[str, str]:
    """Return file name -> text of a service and its timer.

    `argv`: command of the nightly run, started in `folder`. A run that was missed while the machine
    was off starts at the next boot. Secrets are in an environment file that the user writes.
    """
    name = f"vmapbench-{spec.name}"
    service = f"""\
[Unit]
Description=vmapbench nightly run {_value(spec.name)}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
WorkingDirectory={_value(folder)}
ExecStart={" ".join(map(_word, argv))}
# VMAPBENCH_SMTP_PASSWORD=... and other secrets, one per line; chmod 600
EnvironmentFile=-%E/vmapbench/{_value(spec.name)}.env
# 1: the run succeeded and something got worse, which a notice reports
SuccessExitStatus=1
TimeoutStartSec={int(spec.budget_h * 3600) + 2 * 3600}
TimeoutStopSec=120
"""
    timer = f"""\
[Unit]
Description=Timer of vmapbench nightly run {_value(spec.name)}

[Timer]
OnCalendar=*-*-* {spec.at}:00
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{name}.service": service, f"{name}.timer": timer}


def _value(text: str) -> str:
    """Return text for the value of a unit's key, with `%` and line ends escaped."""
    return re.sub(r"[\r\n]", " ", text).replace("%", "%%")


def _word(text: str) -> str:
    """Return one argument of ExecStart, quoted if systemd would split or expand it."""
    escaped = _value(text).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return escaped if re.fullmatch(r"[\w./:=@+,%-]+", escaped) else f'"{escaped}"'
