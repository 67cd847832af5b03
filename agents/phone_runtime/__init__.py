"""The portable phone runtime: what a stock phone needs to run the harness, and nothing of the phone's own.

A phone has no glibc and no Python. A bundle has both, and the engines: ``bundle`` is what is made and how it is
started, ``build`` makes it of pinned parts. docs/phone-runtime.md.
"""
