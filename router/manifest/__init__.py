"""The catalogue as data: one file of providers, models, endpoints, prices and claims, planned before it is applied."""
