"""Power-cycles a host; its firmware then starts the default kernel.

Passwords are read from the environment and never printed or logged.
"""

import os
import urllib.error
import urllib.request
from collections.abc import Mapping

from harness.errors import InfrastructureError, InputError
from harness.process import Runner
from harness.spec.host import CommandPower, HostSpec, HttpPower, IpmiPower, LabgridPower
from harness.web import open_once

_DEADLINE_S = 120.0


def cycle_argv(spec: HostSpec) -> tuple[str, ...] | None:
    """Return the command that power-cycles the host; None if its method is HTTP or none. Pure."""
    power = spec.power
    if isinstance(power, IpmiPower):
        # -E: reads the password from IPMI_PASSWORD, so that it is not in the process list
        session = ("-I", power.interface, "-H", power.address, "-U", power.user, "-E")
        return ("ipmitool", *session, "chassis", "power", "cycle")
    if isinstance(power, CommandPower):
        return power.cycle
    if isinstance(power, LabgridPower):
        return ("labgrid-client", "-p", power.place, "power", "cycle")
    return None


def http_request(power: HttpPower, environment: Mapping[str, str]) -> urllib.request.Request:
    """Return the request to a power strip. Raises InputError if its variable is not set. Pure."""
    headers = {}
    if power.variable:
        if power.variable not in environment:
            raise InputError(f"power: environment variable {power.variable} is not set")
        headers["Authorization"] = environment[power.variable]
    data = power.body.encode() if power.request != "GET" else None
    return urllib.request.Request(  # noqa: S310  (the host file allows http and https only)
        power.url, data=data, headers=headers, method=power.request
    )


def can_cycle(spec: HostSpec) -> bool:
    """Return whether the host has a power method."""
    return spec.power.method != "none"


def cycle_power(spec: HostSpec, runner: Runner) -> None:
    """Power-cycle the host. Raises InfrastructureError if that fails or it has no power method."""
    power = spec.power
    if isinstance(power, HttpPower):
        _send(http_request(power, os.environ), spec.name)
        return
    argv = cycle_argv(spec)
    if argv is None:
        raise InfrastructureError(
            f"host {spec.name} does not answer and has no power method\n"
            "  next: press its reset button; it then starts its known-good kernel"
        )
    env = {}
    if isinstance(power, IpmiPower):
        if power.variable not in os.environ:
            raise InputError(f"power: environment variable {power.variable} is not set")
        env["IPMI_PASSWORD"] = os.environ[power.variable]
    runner.run(argv, env=env, deadline_s=_DEADLINE_S, check=True)


def _send(request: urllib.request.Request, name: str) -> None:
    try:
        with open_once(request, timeout_s=30, proxies=False) as answer:
            answer.read(1 << 16)
    except (urllib.error.URLError, OSError, ValueError) as error:
        host = request.host or "the power strip"
        raise InfrastructureError(f"host {name}: power through {host}: {error}") from error


def reserve_argv(spec: HostSpec, verb: str) -> tuple[str, ...] | None:
    """Return the command that acquires or releases the host's labgrid place, or None. Pure."""
    if isinstance(spec.power, LabgridPower):
        return ("labgrid-client", "-p", spec.power.place, verb)
    return None
