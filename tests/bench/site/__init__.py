"""The Django project that is measured: the package as a view and as a mount, and a bare view beside it."""
