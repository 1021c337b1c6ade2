"""What operators registered: providers, endpoints, models, credentials; and its copy in memory."""
