"""Managers in sandboxes of their own, asked over the bus."""

from sonata.adapters.manager_host.host import SandboxedManagers
from sonata.adapters.manager_host.sandbox import PythonLaunch
from sonata.adapters.manager_host.supervision import SupervisedSandboxes, Supervisor, report_failure, serve_sandboxes

__all__ = [
    "PythonLaunch",
    "SandboxedManagers",
    "SupervisedSandboxes",
    "Supervisor",
    "report_failure",
    "serve_sandboxes",
]
