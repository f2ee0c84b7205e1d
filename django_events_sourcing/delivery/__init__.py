"""From an event to a committed row of the outbox, or to a task, and the wake-up that follows."""
