"""The outbox's tables, and every statement that reads or changes them once an event is in."""
