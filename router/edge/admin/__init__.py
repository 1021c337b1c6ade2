"""The admin API, one file per noun. ``operations`` is all of it."""

from router.edge.admin.routes import operations as routes

operations = [routes]
