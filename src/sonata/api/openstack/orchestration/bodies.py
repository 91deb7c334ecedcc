"""The request bodies of the Orchestration API, for its description.

Source: OpenStack Orchestration API v1 reference.
"""

from __future__ import annotations

from sonata.api.openstack.schemas import (
    ANY_TEXT,
    ANYTHING,
    ID,
    NOTHING,
    SWITCH,
    TEXTS,
    WORDS,
    Schema,
    action,
    choice,
    either,
    many,
    number,
    record,
)

STACK_NAME: Schema = {"type": "string", "pattern": "^[a-zA-Z][a-zA-Z0-9_.-]{0,254}$"}
RESOURCE = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "format": "resource-type"},
        "properties": ANYTHING,
        "depends_on": either(ANY_TEXT, many(ANY_TEXT)),
    },
    "required": ["type"],
}
TEMPLATE: Schema = {
    "type": "object",
    "properties": {
        "heat_template_version": {"type": "string", "format": "template-version"},
        "description": ANY_TEXT,
        "parameters": ANYTHING,
        "resources": {"type": "object", "additionalProperties": RESOURCE},
        "outputs": ANYTHING,
        "conditions": ANYTHING,
    },
    "required": ["heat_template_version", "resources"],
}
DEFINITION: dict[str, Schema] = {
    "template": either(TEMPLATE, ANY_TEXT),
    "environment": either(ANYTHING, ANY_TEXT),
    "files": {"type": "object", "additionalProperties": ANY_TEXT},
    "parameters": ANYTHING,
    "environment_files": many(WORDS),
}
CHANGE: dict[str, Schema] = {
    **DEFINITION,
    "disable_rollback": SWITCH,
    "timeout_mins": number(1),
    "tags": either(WORDS, many(WORDS)),
}
CREATE = record({"stack_name": STACK_NAME, **CHANGE, "adopt_stack_data": ANYTHING}, ["stack_name", "template"])
UPDATE = record(CHANGE, ["template"])
PATCH = record({**CHANGE, "clear_parameters": many(WORDS)})
VALIDATE = record(DEFINITION, ["template"])
ACTION = action(dict.fromkeys(("suspend", "resume", "check", "cancel_update", "cancel_without_rollback"), NOTHING))
SNAPSHOT = record({"name": WORDS})
MARK_UNHEALTHY = record({"mark_unhealthy": SWITCH, "resource_status_reason": WORDS}, ["mark_unhealthy"])
CONFIG = record(
    {
        "name": WORDS,
        "group": WORDS,
        "config": ANY_TEXT,
        "inputs": many(record({"name": ID, "type": choice("String", "Number", "Json")}, ["name"])),
        "outputs": many(record({"name": ID}, ["name"])),
        "options": TEXTS,
    }
)
_DEPLOYED: dict[str, Schema] = {"config_id": ID, "input_values": ANYTHING, "action": WORDS, "status": WORDS,
                                "status_reason": WORDS}  # fmt: skip
DEPLOYMENT = record({**_DEPLOYED, "server_id": ID, "stack_user_project_id": WORDS}, ["config_id", "server_id"])
DEPLOYMENT_CHANGE = record({**_DEPLOYED, "output_values": ANYTHING})
SIGNAL: Schema = ANYTHING
