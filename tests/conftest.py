"""Fixtures for all tests: the servers."""

from tests.servers import postgresql_proc, rabbitmq_proc, redis_proc

__all__ = ["postgresql_proc", "rabbitmq_proc", "redis_proc"]
