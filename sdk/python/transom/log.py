"""The plugin's `logging` as the lines that hosts of go-plugin read, levels and all."""

import datetime
import json
import logging
import sys

# From the host's levels, which TRANSOM_LOG names, to those of `logging`.
LEVELS = [5, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR]
NAMES = ["trace", "debug", "info", "warn", "error"]


class Lines(logging.Formatter):
    """HashiCorp's hclog in JSON."""

    def format(self, record):
        level = max([0, *(at for at, least in enumerate(LEVELS) if record.levelno >= least)])
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        when = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc).replace(tzinfo=None)
        line = {"@level": NAMES[level], "@message": text, "@module": record.name, "@timestamp": when.isoformat(timespec="microseconds") + "Z"}
        return json.dumps(line)


def to_host(level: int):
    """From the host's level on. A program that has set up its own log keeps it."""
    if not logging.root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Lines())
        logging.root.addHandler(handler)
        logging.root.setLevel(LEVELS[level])
