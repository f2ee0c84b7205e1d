"""The outbox in Django's admin: to see how it stands, to find events, and to replay or bury them.

A site of the project's own takes the same classes: ``site.register(LogEntry, EventAdmin)``.
"""

from django.contrib import admin

from django_events_sourcing.admin.dashboard import DashboardAdmin
from django_events_sourcing.admin.events import EventAdmin
from django_events_sourcing.admin.operations import OperationAdmin
from django_events_sourcing.models import LogEntry, Operation, Partition

__all__ = ["DashboardAdmin", "EventAdmin", "OperationAdmin"]

admin.site.register(Partition, DashboardAdmin)
admin.site.register(LogEntry, EventAdmin)
admin.site.register(Operation, OperationAdmin)
