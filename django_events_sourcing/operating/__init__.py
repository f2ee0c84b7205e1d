"""What an operator sees of the outbox and does to it; ``manage.py events`` is its front."""
