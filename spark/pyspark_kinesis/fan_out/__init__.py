"""Enhanced fan-out: consumers, their subscriptions, and who watches them."""
