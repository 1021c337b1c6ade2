"""The texts that an endpoint is probed with, and how two sets of their vectors are compared."""
