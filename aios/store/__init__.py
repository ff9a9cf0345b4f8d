"""The event log: how events become text (``codec``), and where they are kept (``memory``, ``sql``)."""
