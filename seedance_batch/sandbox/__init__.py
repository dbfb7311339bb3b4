"""A local stand-in for HiAPI's task API: rehearses a batch with no key and no money.

It is an independent second reading of the public contract and imports nothing from the rest of
the package; its truth is ``openapi.yaml`` beside this file. Importing this package loads nothing
heavy: `server.running` serves it on loopback sockets, `server.build` makes it for in-process tests.
"""
