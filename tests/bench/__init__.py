"""What the library costs and how fast it is, against the ways without it; `make bench` runs it.

Every figure is a ratio of things measured in turns within one run, on one machine. The ways are

(a) no events at all,
(b) one bare INSERT of the same bytes in the same transaction,
(c) a signal that calls ``.delay()`` on commit: one Celery task an event, which opens nameko's standalone dispatcher,
(d) a loop over nameko's standalone dispatcher, a confirm awaited for each event,
(e) a loop over kombu that awaits the confirms of 200 messages together.
"""
