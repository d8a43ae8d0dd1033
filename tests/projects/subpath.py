"""nginx that serves a project at a sub-path of its site."""

from __future__ import annotations

from tests.support.nginx import Nginx


class SubpathNginx(Nginx):
    """nginx of one server, which hands paths on as they are: FORCE_SCRIPT_NAME says where the project begins."""

    def __init__(self, port: int, prefix: str) -> None:
        super().__init__([port])
        self.prefix = prefix

    def configuration(self) -> str:
        whole = super().configuration()
        assert whole.count("location / {") == 1
        return whole.replace("location / {", f"location {self.prefix}/ {{")
