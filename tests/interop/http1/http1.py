"""The suite that the files of cases beside this one register with."""

from suite import Suite

suite = Suite("http1")
