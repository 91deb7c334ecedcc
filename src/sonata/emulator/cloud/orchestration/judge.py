"""Regular expressions and YAQL of users, evaluated in a process of its own that may take little time and memory.

Either can be written so that it runs for years; then it is this process that ends, and nobody else has waited.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("judge_program.py")
LONGEST_S = 1.0
START_S = 20.0
"""Patience with a process that is only just starting, on a busy machine."""
LONGEST_LINE = 8 * 1024**2
MOST_KNOWN = 1000

Key = tuple[str, str]


class Judge:
    """Evaluates for the stacks of one cloud, one request at a time."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._known: OrderedDict[Key, bool] = OrderedDict()

    async def matches(self, pattern: str, text: str) -> bool:
        """Whether a text as a whole is what a regular expression says.

        Raises:
            ValueError: it is no regular expression, or takes too long.
        """
        key = (pattern, text)
        if key not in self._known:
            self._known[key] = bool(await self._ask({"pattern": pattern, "text": text}))
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return self._known[key]

    async def query(self, expression: str, data: Any) -> Any:
        """What a YAQL expression finds in `$.data`; memory and iterations are bounded as in Heat.

        Raises:
            ValueError: it is no expression, fails, or takes too long.
        """
        return await self._ask({"expression": expression, "data": data})

    async def close(self) -> None:
        """End the process; idempotent."""
        if (process := self._process) and process.returncode is None:
            process.kill()
            await process.wait()
        self._process = None

    async def _ask(self, request: dict[str, Any]) -> Any:
        async with self._turn:
            line = await self._exchange(request)
            if not line:
                # The process ends when nobody has asked it for long.
                await self.close()
                line = await self._exchange(request)
        answer = json.loads(line) if line else {"error": "its evaluation ended without an answer"}
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["value"]

    async def _ready(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", str(PROGRAM), limit=LONGEST_LINE,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            async with asyncio.timeout(START_S):
                await self._line(self._process, {})
        return self._process

    async def _exchange(self, request: dict[str, Any]) -> bytes:
        process = await self._ready()
        try:
            async with asyncio.timeout(LONGEST_S):
                return await self._line(process, request)
        except TimeoutError:
            await self.close()
            return json.dumps({"error": f"it takes longer than {LONGEST_S:g} s"}).encode()
        except asyncio.CancelledError:
            # Half an exchange would make the next answer that of this request.
            await self.close()
            raise

    async def _line(self, process: asyncio.subprocess.Process, request: dict[str, Any]) -> bytes:
        if process.stdin is None or process.stdout is None:
            return b""
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            await process.stdin.drain()
            return await process.stdout.readline()
        except ConnectionError:
            return b""
