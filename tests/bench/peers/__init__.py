"""The servers that the package is measured against; each offers the tools `add` and `count`."""
