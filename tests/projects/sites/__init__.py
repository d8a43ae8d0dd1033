"""The projects, each a settings module, and what all of them share: URLs, applications, tools."""
