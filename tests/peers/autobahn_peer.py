#!/usr/bin/env python3
"""Autobahn's WebSocket cases.

    autobahn_peer.py serve          an echo server on a free port of loopback; prints where
    autobahn_peer.py run ADDRESS    runs every case against ADDRESS, prints `case ID BEHAVIOUR / CLOSE` for each

The cases are those of PyPI's `autobahntestsuite`, which is written for Python 2. They are taken from the installed package
as they are and translated as they are imported: the few words that changed, and strings, which are bytes there. Each file is
read as Latin-1, so that a string has a character for each byte, and turned into bytes, and back, where it meets the protocol:
PyPI's `autobahn`, which the cases were written for, in its present version.

AUTOBAHN_MESSAGES is how many messages the cases with many of them send: 20, or 1000 as in the original.
"""

import asyncio
import hashlib
import importlib.abc
import importlib.util
import os
import pathlib
import re
import sys
import types

MESSAGES = int(os.environ.get("AUTOBAHN_MESSAGES", "20"))
AT_ONCE = 16
SUITE = pathlib.Path(importlib.util.find_spec("autobahntestsuite").submodule_search_locations[0])
CASES = SUITE / "case"


def as_bytes(text):
    return text.encode("latin-1") if isinstance(text, str) else text


def as_text(data):
    return data.decode("latin-1") if isinstance(data, (bytes, bytearray)) else data


class Data(str):
    """A string of Python 2: a character for each byte, and it can be decoded."""

    def decode(self, _encoding):
        return Unicode(self.encode("latin-1").decode("utf-8"))


class Unicode(str):
    """Text of Python 2: encoded, it is a string again; so are its parts."""

    def __getitem__(self, index):
        return Unicode(super().__getitem__(index))

    def __add__(self, other):
        return Unicode(super().__add__(other))

    def encode(self, *_):
        return Data(as_text(str.encode(self, "utf-8")))


class Translator(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the modules of the cases by their bare names."""

    def find_spec(self, name, path=None, target=None):
        file = CASES / ("__init__.py" if name == "cases" else f"{name}.py")
        if name == "cases" or file.exists():
            return importlib.util.spec_from_file_location(name, file, loader=self)
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        source = pathlib.Path(module.__spec__.origin).read_text("latin-1")
        if "import implements" in source:
            return  # Needs Twisted, for a case that the suite itself leaves out.
        # The encoding is known, and Python does not read it from a string.
        source = re.sub(r"^#.*coding.*$", "#", source, flags=re.M)
        source = re.sub(r"^( *)print (.*)$", r"\1print(\2)", source, flags=re.M)
        source = re.sub(r"^from autobahn.websocket.utf8validator .*$", "", source, flags=re.M)
        source = source.replace("open(fn, 'rb').read()", "data(fn)").replace("(object, Case, )", "(Case,)")
        source = source.replace("/ self.p.", "// self.p.").replace("hashlib.sha1()", "Digest()").replace("binascii.b2a_hex(", "hexadecimal(")
        # Autobahn's parameters have other names by now.
        source = re.sub(r"\b(?:request|accept)(?:NoContextTakeover|MaxWindowBits)\b", snake_case, source)
        source = re.sub(r"\b1000(, +\d+ *[,)])", rf"{MESSAGES}\1", source)
        names = {"xrange": range, "unichr": chr, "Utf8Validator": validator(), "data": data, "Digest": Digest, "hexadecimal": hexadecimal}
        module.__dict__.update(names)
        exec(compile(source, module.__spec__.origin, "exec"), module.__dict__)


def snake_case(name):
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name[0])


def data(file):
    return Data(as_text(pathlib.Path(file).read_bytes()))


def validator():
    from autobahn.websocket.utf8validator import Utf8Validator

    class Validator:
        def __init__(self):
            self.validator = Utf8Validator()

        def reset(self):
            self.validator.reset()

        def validate(self, text):
            return self.validator.validate(as_bytes(text))

    return Validator


def load():
    """All case classes, in their order."""
    resources = types.ModuleType("pkg_resources")
    resources.resource_filename = lambda _, path: str(SUITE / path)
    sys.modules["pkg_resources"] = resources
    sys.meta_path.insert(0, Translator())
    import cases

    # The original compares pickles, in which equal strings can differ.
    cases.Case.compare = lambda _, one, other: one == other
    return cases.Cases


class Digest:
    """SHA-1 of strings of Python 2."""

    def __init__(self):
        self.sha1 = hashlib.sha1()

    def update(self, text):
        self.sha1.update(as_bytes(text))

    def digest(self):
        return as_text(self.sha1.digest())


def hexadecimal(text):
    return as_bytes(text).hex()


def protocol():
    """Autobahn's client protocol with what the suite's fuzzing client adds, and strings at its border."""
    from autobahn.asyncio.websocket import WebSocketClientProtocol

    class Fuzzer(WebSocketClientProtocol):
        connectionWasOpen = False
        runCase = None

        def _connectionMade(self):
            super()._connectionMade()
            self.txFrameStats = {}
            self.wirelog = []
            self.createWirelog = False
            self.runCase = self.factory.case(self)

        def enableWirelog(self, _):
            pass

        def later(self, delay, action):
            def act():
                if self.state != self.STATE_CLOSED:
                    action()

            asyncio.get_running_loop().call_later(delay, act)

        def continueLater(self, delay, action, tag=None):
            self.later(delay, action)

        def killAfter(self, delay):
            # A machine that is busy with other cases is slow: time to answer is no part of these cases.
            self.later(max(delay, 10), self.failConnection)

        def failConnection(self):
            self._fail_connection(self.CLOSE_STATUS_CODE_GOING_AWAY, "Going Away")

        def closeAfter(self, delay):
            self.later(delay, self.sendClose)

        def onOpen(self):
            self.connectionWasOpen = True
            self.runCase.onOpen()

        def onMessage(self, payload, isBinary):
            self.runCase.onMessage(Data(as_text(payload)), isBinary)

        def onPing(self, payload):
            # The original replies itself only where a case does not.
            self.runCase.onPing(as_text(payload))
            if self.state == self.STATE_OPEN:
                self.sendPong(payload)

        def onPong(self, payload):
            self.runCase.onPong(as_text(payload))

        def onClose(self, wasClean, code, reason):
            self.runCase.onClose(wasClean, code, reason)

        def _connectionLost(self, reason):
            super()._connectionLost(reason)
            self.runCase.onConnectionLost(self.failedByMe)
            if not self.factory.ended.done():
                self.factory.ended.set_result(self.runCase)

        def sendFrame(self, opcode, payload="", **options):
            if options.get("mask") is not None:
                options["mask"] = as_bytes(options["mask"])
            self.txFrameStats[opcode] = self.txFrameStats.get(opcode, 0) + 1
            super().sendFrame(opcode=opcode, payload=as_bytes(payload), **options)

        def sendMessage(self, payload, isBinary=False, **options):
            super().sendMessage(as_bytes(payload), isBinary, **options)

        def sendMessageFrameData(self, payload, sync=False):
            return super().sendMessageFrameData(as_bytes(payload), sync)

        def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
            super().sendCloseFrame(code=code, reasonUtf8=as_bytes(reasonUtf8), isReply=isReply)

    return Fuzzer


async def run_case(fuzzer, case, host, port, agent):
    from autobahn.asyncio.websocket import WebSocketClientFactory

    loop = asyncio.get_running_loop()
    factory = WebSocketClientFactory(f"ws://{agent}/", useragent="autobahn")
    factory.setProtocolOptions(failByDrop=False, openHandshakeTimeout=60, closeHandshakeTimeout=60)
    # Whether the server closes is a case; how fast it does, with the machine at work on others, is not.
    factory.setProtocolOptions(serverConnectionDropTimeout=30)
    factory.protocol = fuzzer
    factory.case = case
    factory.ended = loop.create_future()
    await loop.create_connection(factory, host, port)
    try:
        ran = await asyncio.wait_for(factory.ended, 120)
    except asyncio.TimeoutError:
        return "TIMEOUT"
    return f"{ran.behavior} / {ran.behaviorClose}"


async def run(address):
    host, port = address.rsplit(":", 1)
    all_cases, fuzzer = load(), protocol()
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(case):
        async with turn:
            verdict = await run_case(fuzzer, case, host, int(port), "suite.example")
            print("case", case.__name__[len("Case"):].replace("_", "."), verdict, flush=True)

    await asyncio.gather(*map(one, all_cases))


async def serve():
    from autobahn.asyncio.websocket import WebSocketServerFactory, WebSocketServerProtocol
    from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept

    class Echo(WebSocketServerProtocol):
        def onMessage(self, payload, isBinary):
            self.sendMessage(payload, isBinary)

    def accept(offers):
        deflate = [offer for offer in offers if isinstance(offer, PerMessageDeflateOffer)]
        return PerMessageDeflateOfferAccept(deflate[0]) if deflate else None

    factory = WebSocketServerFactory()
    factory.protocol = Echo
    factory.setProtocolOptions(failByDrop=False, perMessageCompressionAccept=accept)
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    print("listening 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    elif len(sys.argv) == 3 and sys.argv[1] == "run":
        asyncio.run(run(sys.argv[2]))
    else:
        sys.exit(__doc__)
