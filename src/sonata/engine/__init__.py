"""The workflow kernel: named steps over a frozen state, with retry, compensation and a timeline."""

from sonata.engine.definition import Done, FanOut, Retry, Step, Workflow
from sonata.engine.failure import Failure
from sonata.engine.runner import Runner
from sonata.engine.timeline import Timeline

__all__ = ["Done", "Failure", "FanOut", "Retry", "Runner", "Step", "Timeline", "Workflow"]
