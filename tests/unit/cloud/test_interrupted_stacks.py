"""After the power is lost, stacks tell at once what became of what was going on."""

from __future__ import annotations

from sonata.emulator.cloud.entities.orchestration import Definition, Owner, Stack, StackResource, State
from sonata.emulator.cloud.recovery import lose_power
from sonata.emulator.cloud.tables import Tables


def test_what_was_going_on_has_failed_and_the_events_say_so() -> None:
    tables = Tables()
    owner, definition = Owner("u", "u", "p", ()), Definition({})
    busy = tables.stacks.add(
        Stack(name="busy", owner=owner, definition=definition, previous=definition, action="UPDATE")
    )
    done = tables.stacks.add(Stack(name="done", owner=owner, definition=definition, status=State.COMPLETE))
    row = StackResource(stack_id=busy.id, name="r", type="T", action="CREATE", status=State.IN_PROGRESS)
    tables.stack_resources.add(row)

    lose_power(tables)

    told = tables.stacks.get(busy.id)
    assert (told.action, told.status, told.previous) == ("UPDATE", State.FAILED, None)
    assert told.status_reason == "Engine went down during stack UPDATE"
    assert tables.stacks.get(done.id) == done
    assert tables.stack_resources.get(row.id).status == State.FAILED
    events = [(event.resource_name, event.status) for event in tables.stack_events]
    assert events == [("r", State.FAILED), ("busy", State.FAILED)]
