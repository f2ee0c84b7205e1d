"""The outbox's tables, every statement that reads or changes them, and the leases on their partitions."""
