#!/usr/bin/env python3
"""A plugin that lets requests pass only if they have the headers of its configuration: {"User": "admin"}."""

import transom


class Filter(transom.StreamFilter):
    """One for each stream; `settings` are the headers that a request must have."""

    @classmethod
    def parse(cls, config):
        return config.map_of(transom.text())

    def request_headers(self, stream, end):
        if all(stream.request.get(name) == value for name, value in self.settings.items()):
            return transom.CONTINUE
        stream.reply(403, "a required header is missing\n", details="filter_denied")
        return transom.STOP


if __name__ == "__main__":
    transom.Plugin("filter", "1.0.0", filters=[Filter]).serve()
