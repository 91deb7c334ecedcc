"""Managers that do what managers should not, and one that behaves."""

from __future__ import annotations

from sonata.managers.testing import placement_state

HEAD = """
import json, os, sys, time
from sonata.managers import Placement, ServiceSpecificManager

class Author(ServiceSpecificManager):
    def place(self, state):
"""

# A program that speaks the protocol by itself, as one in another language would; `answer` is put in.
RAW = """
import os
from websockets.sync.client import unix_connect
from sonata.managers.messages import Frame, read_frame, write_frame

api, answer = {api}, {answer}
with unix_connect(os.environ["SONATA_BUS"].removeprefix("ws+unix:"), uri="ws://localhost/", max_size=None) as bus:
    prefix = read_frame(bus.recv()).topic
    bus.send(write_frame(Frame("respond", id="1", topic=prefix + ".placement")))
    bus.recv()
    body = {{"api": api, "roles": ["placement"], "names": ["raw"]}}
    bus.send(write_frame(Frame("request", id="2", topic=prefix + ".register", body=body)))
    bus.recv()
    question = read_frame(bus.recv())
    bus.send(answer.replace("ID", question.id))
    bus.recv()
"""


def placing(*lines: str) -> str:
    """A manager whose `place` has these lines."""
    return HEAD + "".join(f"        {line}\n" for line in lines)


GOOD = placing(
    "print('asked')", "return Placement({vnf: state.pops_nearest('users')[0] for vnf in state.vnf_ids}, 'near')"
)
RAISING = placing("raise ZeroDivisionError('no pops left')")
STALLING = placing("print('thinking...', flush=True)", "time.sleep(3600)")
SPINNING = placing("while True: pass")
DYING = placing("print('goodbye', flush=True)", "os._exit(3)")
LYING = placing("return Placement({'cache': 'atlantis'})")
CHATTY = placing("return Placement({'cache': 'edge'}, reason='x' * 2**21)")
SILENT = "import time\nprint('asleep', flush=True)\ntime.sleep(3600)\n"
BROKEN = "print('hello', flush=True)\nimport no_such_module_anywhere\n"
EMPTY = "x = 1\n"
OUTDATED = RAW.format(api=99, answer="''")
NONSENSE = RAW.format(api=1, answer="'I am no JSON'")
NO_OBJECT = RAW.format(api=1, answer="""'{"v": 1, "kind": "reply", "id": "ID", "body": [1]}'""")
HUGE = RAW.format(api=1, answer="""'{"v": 1, "kind": "reply", "id": "ID", "body": {"x": "' + "y" * 2**21 + '"}}'""")

STATE = placement_state(["cache"], delays={("edge", "core"): 0.02}, endpoints={"users": "edge"}, ingress="users")
