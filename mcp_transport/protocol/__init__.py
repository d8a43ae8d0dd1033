"""The rules of the protocol as tables and small functions.

The law of this layer: no Django, no event loop, no clock, no randomness, no I/O. Everything here is a
value or a function from values to values, so that every rule can be read and tested by itself.
"""
