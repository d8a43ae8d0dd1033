"""Every shortcut around what the SDK itself would do, with the same results (docs/adr/0020 and 0021).

`Kernel(fast=False)` and the setting `FAST_PATH` turn all of them off.
"""
