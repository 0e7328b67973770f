"""Tests of the SDK: `python -m unittest discover tests` in its folder."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import transom  # noqa: E402
from transom import filter as filters, headers  # noqa: E402
from transom.plugin.v1 import action_pb2  # noqa: E402


class Configurations(unittest.TestCase):
    def fault(self, data, **keys):
        with self.assertRaises(transom.Fault) as caught:
            transom.Config(data).read(**keys)
        return caught.exception

    def test_a_mistake_is_known_by_the_way_to_it(self):
        fault = self.fault(b'{"ms": "long"}', ms=transom.integer(0, 5))
        self.assertEqual((fault.path, fault.message), (["ms"], "expected a whole number, found the text 'long'"))
        self.assertEqual(self.fault(b'{"ms": 6}', ms=transom.integer(0, 5)).message, "expected a number from 0 to 5, found 6")
        self.assertEqual(self.fault(b'{"ms": true}', ms=transom.integer(0, 5)).path, ["ms"])
        self.assertEqual(self.fault(b'{"sm": 1}', ms=transom.integer()).path, ["sm"])
        self.assertIn("`ms` is missing", self.fault(b"", ms=transom.integer()).message)
        self.assertIn("found a list", self.fault(b"[]").message)
        with self.assertRaises(transom.Fault):
            transom.Config(b"{")

    def test_defaults_hold_where_nothing_is_said(self):
        settings = transom.Config(b'{"a": null}').read(a=transom.text("x"), b=transom.boolean(False))
        self.assertEqual((settings.a, settings.b), ("x", False))


class HeaderMaps(unittest.TestCase):
    def setUp(self):
        self.asked = []
        self.headers = headers.Headers(self.asked.append, action_pb2.REQUEST_HEADERS)

    def test_values_keep_their_place(self):
        self.headers.arrive(headers.fields([(":authority", "a.test"), ("A", "1"), ("b", "2"), ("a", "3")]))
        self.assertEqual(self.headers.get("Host"), "a.test")
        self.headers.set("a", "4")
        self.headers.add("B", "5")
        self.assertEqual(self.headers.items(), [(":authority", "a.test"), ("A", "4"), ("b", "2"), ("B", "5")])
        self.headers.remove("b")
        self.assertEqual(self.headers.get_all("b"), [])
        self.assertEqual(len(self.asked), 3)

    def test_what_the_proxy_refuses_is_refused(self):
        with self.assertRaises(transom.HeaderError):
            self.headers.set("a", "b")
        self.headers.arrive([])
        for name, value in [("Connection", "x"), ("a b", "x"), ("a", "x\r\n"), ("a", " x"), ("", "x"), ("a\n", "x")]:
            with self.subTest(name=name, value=value), self.assertRaises(transom.HeaderError):
                self.headers.set(name, value)
        with self.assertRaises(transom.HeaderError):
            self.headers.remove(":path")


class Waiter(transom.StreamFilter):
    """Waits for everything that a filter can wait for."""

    @classmethod
    def clusters(cls, settings):
        return ["auth"]

    async def request_headers(self, stream, end):
        await stream.sleep(3600)
        try:
            answer = await stream.call("auth", "/", authority="auth")
        except transom.CalloutError as error:
            stream.reply(503, details=error.kind.lower())
            return transom.STOP
        await stream.run(lambda: None)
        await stream.shared_set("user", answer.headers.get("x-user").encode())
        value, _ = await stream.shared_get("user")
        stream.request.set("x-user", value.decode())
        stream.set_metadata("waiter", "list", [1, {"a": None}])
        return transom.CONTINUE

    def complete(self, stream):
        stream.log("info", "over")


class Longer(transom.StreamFilter):
    def request_body(self, stream, end):
        stream.set_body(transom.REQUEST, b"longer")


class Broken(transom.StreamFilter):
    async def request_headers(self, stream, end):
        await stream.sleep(1)
        raise KeyError("nobody")


class Trials(unittest.TestCase):
    def test_code_that_waits_goes_on(self):
        outcome = transom.Trial(Waiter, callouts={"auth": (200, {"x-user": "alice"}, b"")}).run(body=b"x")
        self.assertIsNone(outcome.status)
        self.assertEqual(outcome.request.get("x-user"), "alice")
        self.assertEqual(outcome.metadata, {("waiter", "list"): [1, {"a": None}]})
        self.assertEqual(outcome.logs, ["over"])

    def test_a_callout_that_fails_is_told(self):
        outcome = transom.Trial(Waiter).run()
        self.assertEqual((outcome.status, outcome.reply.details), (503, "unsupported"))

    def test_a_changed_length_that_was_not_announced_fails(self):
        outcome = transom.Trial(Longer).run(headers={"content-length": "1"}, body=b"x")
        self.assertIn("length", outcome.failure)
        self.assertEqual(transom.Trial(Longer).run(body=b"x").request_body, b"longer")

    def test_an_exception_is_a_failure_with_its_text(self):
        self.assertEqual(transom.Trial(Broken).run().failure, "the filter raised KeyError: 'nobody'")

    def test_a_filter_is_sent_what_it_has_methods_for(self):
        self.assertEqual(filters.callbacks(transom.StreamFilter), 0)
        self.assertEqual(filters.callbacks(Waiter), 1 | 64)
        self.assertEqual(filters.callbacks(Longer), 1 | 2)


if __name__ == "__main__":
    unittest.main()
