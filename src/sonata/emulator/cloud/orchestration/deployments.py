"""Software deployments that no stack makes: a client tells a configuration and a server, and it is applied there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sonata.emulator.cloud.entities.orchestration import SoftwareConfig, SoftwareDeployment, State
from sonata.emulator.cloud.orchestration.agent import Run, applied, failures, values_of
from sonata.emulator.cloud.orchestration.operations import Operations
from sonata.emulator.cloud.orchestration.views import Views
from sonata.emulator.cloud.tables import Tables
from sonata.errors import NotFound, SonataError

AVAILABLE = "Deploy data available"


class Deployments:
    """The deployments of one cloud's clients.

    Args:
        run: runs commands in servers.
    """

    def __init__(self, tables: Tables, views: Views, operations: Operations, run: Run) -> None:
        self._tables = tables
        self._views = views
        self._operations = operations
        self._run = run

    def create(self, deployment: SoftwareDeployment) -> SoftwareDeployment:
        """Begin to apply a configuration to a server.

        Raises:
            NotFound: there is no such configuration in the project.
        """
        self._config(deployment)
        made = self._tables.software_deployments.add(deployment)
        self._begin(made.id)
        return made

    def change(self, deployment: SoftwareDeployment, changes: Mapping[str, Any]) -> SoftwareDeployment:
        """Change a deployment; another configuration is applied.

        Raises:
            NotFound: there is no such configuration in the project.
        """
        changed = self._tables.software_deployments.change(deployment.id, **changes)
        if changes.get("config_id"):
            self._config(changed)
            self._begin(changed.id)
        return changed

    def delete(self, deployment: SoftwareDeployment) -> None:
        """Forget a deployment; what it has done in the server stays."""
        self._tables.software_deployments.remove(deployment.id)

    def _begin(self, deployment_id: str) -> None:
        self._operations.in_background(deployment_id, self._apply(deployment_id))

    async def _apply(self, deployment_id: str) -> None:
        """Apply a deployment; what it tells is kept only while somebody waits for it."""
        deployment = self._tables.software_deployments.peek(deployment_id)
        if deployment is None:
            return
        told: Mapping[str, Any] = {}
        try:
            config = self._config(deployment)
            await self._require_server(deployment)
            inputs = values_of(config, deployment.input_values)
            told = await applied(self._run, deployment.server_id, config, inputs, deployment.id)
        except SonataError as error:
            reasons = [error.message]
        else:
            reasons = failures(config, told)
        now = self._tables.software_deployments.peek(deployment_id)
        if now and now.status == State.IN_PROGRESS and now.config_id == deployment.config_id:
            status = State.FAILED if reasons else State.COMPLETE
            reason = ", ".join(reasons) or "Outputs received"
            self._tables.software_deployments.change(deployment_id, status=status, status_reason=reason, told=told)

    def _config(self, deployment: SoftwareDeployment) -> SoftwareConfig:
        config = self._tables.software_configs.peek(deployment.config_id)
        if config is None or config.project_id != deployment.project_id:
            raise NotFound(f"The Software config ({deployment.config_id}) could not be found.")
        return config

    async def _require_server(self, deployment: SoftwareDeployment) -> None:
        """Refuse a server that is not there for who deploys.

        Raises:
            NotFound: it is not.
        """
        calls = self._views.calls_of(deployment.owner)
        status, _document = await calls.call("compute", "GET", f"/v2.1/servers/{deployment.server_id}")
        if status >= 400:
            raise NotFound(f"The Server ({deployment.server_id}) could not be found.")
