"""Alerts customers of what they spend: which alert is due, raised once, told by mail and by signed webhook.

``serve`` reads and writes the rows of budgets and webhooks; ``jobs`` raises and sends.
"""
