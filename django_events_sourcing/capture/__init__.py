"""From a change of a registered model to an event: the signals, what a row holds, its serialized form."""
