"""Backends with moods, in a process of their own: well, slow, failing, silent, and more, as a plan says.

Each works on one request after the other, for `SERVICE` seconds each, so it carries 50 in a second; whoever comes while it is
busy waits. What it was asked is counted.
"""

import asyncio
import multiprocessing
import os

from processes import free_ports

SERVICE = 0.02
SLOW = 2.0
BODY = b"x" * 128


def _answer(status):
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(BODY), BODY)


WELL, FAILURE, UNAVAILABLE = (_answer(status) for status in (b"200 OK", b"500 Failed", b"503 Unavailable"))
MOODS = ("well", "half", "slow", "failing", "unavailable", "silent", "resets", "gone")


class _Connection(asyncio.Protocol):
    def __init__(self, backend):
        self.backend, self.read = backend, b""

    def connection_made(self, transport):
        self.transport = transport
        self.backend.connections.add(self)

    def connection_lost(self, _):
        self.backend.connections.discard(self)

    def data_received(self, data):
        self.read += data
        while b"\r\n\r\n" in self.read:
            _, _, self.read = self.read.partition(b"\r\n\r\n")
            self.backend.asked(self)

    def say(self, answer):
        if not self.transport.is_closing():
            self.transport.write(answer)


class _Backend:
    def __init__(self, port):
        self.port, self.mood, self.count = port, "well", 0
        self.connections, self.held, self.free_at, self.server = set(), [], 0.0, None

    async def listen(self):
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port, backlog=4096)

    def asked(self, connection):
        self.count += 1
        loop = asyncio.get_running_loop()
        if self.mood == "silent":
            self.held.append(connection)
        elif self.mood == "resets":
            connection.transport.abort()
        elif self.mood in ("failing", "unavailable"):
            connection.say(FAILURE if self.mood == "failing" else UNAVAILABLE)
        else:
            takes = SERVICE * 2 if self.mood == "half" else SERVICE
            self.free_at = max(loop.time(), self.free_at) + takes
            later = SLOW if self.mood == "slow" else 0.0
            loop.call_at(self.free_at + later, connection.say, WELL)

    async def turn(self, mood):
        former, self.mood = self.mood, mood
        if mood == "gone":
            self.server.close()
            for connection in list(self.connections):
                connection.transport.abort()
            self.free_at = 0.0
        elif former == "gone":
            await self.listen()
        held, self.held = self.held, []
        for connection in held:
            connection.say(WELL)


class Backends:
    """So many backends on ports of their own, until stopped."""

    def __init__(self, count, core):
        self.ports = free_ports(count)
        self.mine, theirs = multiprocessing.Pipe()
        self.child = multiprocessing.Process(target=self._work, args=(theirs, core), daemon=True)
        self.child.start()
        self.mine.recv()

    def play(self, plan):
        """Begins a plan, of `(seconds from now, backend, mood)`; counts begin anew."""
        self.mine.send(plan)

    def counts(self):
        """How often each was asked since the plan began; all are well again."""
        self.mine.send(None)
        return self.mine.recv()

    def stop(self):
        self.child.terminate()
        self.child.join()

    def _work(self, pipe, core):
        if core is not None:
            os.sched_setaffinity(0, {core})
        asyncio.run(self._serve(pipe))

    async def _serve(self, pipe):
        loop = asyncio.get_running_loop()
        backends = [_Backend(port) for port in self.ports]
        for backend in backends:
            await backend.listen()
        orders, turns = asyncio.Queue(), []
        loop.add_reader(pipe.fileno(), lambda: orders.put_nowait(pipe.recv()))
        pipe.send("ready")
        while True:
            plan = await orders.get()
            for turn in turns:
                turn.cancel()
            for backend in backends:
                if backend.mood != "well":
                    await backend.turn("well")
            if plan is None:
                pipe.send([backend.count for backend in backends])
                continue
            for backend in backends:
                backend.count = 0
            begin = lambda place, mood: loop.create_task(backends[place].turn(mood))  # noqa: E731
            turns = [loop.call_later(at, begin, place, mood) for at, place, mood in plan]
