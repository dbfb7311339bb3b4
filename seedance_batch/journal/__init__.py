"""The durable record of attempts."""
