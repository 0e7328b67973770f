"""What is reckoned from measurements, and how configurations are filled in."""

import json
import tempfile
import unittest
from pathlib import Path

import proxies
import report
import symbols
from cases import CASES
from measure import Cell, LoadFailed, read_report


def cells(cpu, *, requests=1000.0):
    return [Cell(requests, 10, 20, value, 5.0, 4.0, 0.0, 0.0) for value in cpu]


def measured(transom=(8.0, 9.0, 30.0), noop=(10.0, 11.0, 12.0)):
    return {
        ("http1-small", "direct"): [Cell(2000, 1, 2, None, None, None, 0.0, 0.0)] * 3,
        ("http1-small", "nginx"): cells([9.0, 10.0, 40.0]),
        ("http1-small", "transom"): cells(transom, requests=1100.0),
        ("http1-small-32noop", "transom"): cells(noop, requests=900.0),
    }


class Rows(unittest.TestCase):
    def test_ratios_are_of_medians_of_the_same_load(self):
        by_key = {(row["case"], row["proxy"]): row for row in report.rows(measured())}
        transom = by_key["http1-small", "transom"]
        self.assertEqual((transom["cpu_us_per_request"], transom["cpu_ratio_to_nginx"], transom["ratio_to_nginx"]), (9.0, 0.9, 1.1))
        self.assertEqual(by_key["http1-small-32noop", "transom"]["cpu_ratio_to_nginx"], 1.1)
        self.assertIsNone(by_key["http1-small", "direct"]["cpu_us_per_request"])

    def test_the_json_is_read_back(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.json"
            report.write_json(path, measured())
            self.assertEqual(json.loads(path.read_text()), {"rows": report.rows(measured())})

    def test_the_table_has_a_line_per_row(self):
        self.assertEqual(len(report.table(measured()).splitlines()), 2 + 4)


class Gates(unittest.TestCase):
    def test_met(self):
        said, all_met = report.gates(measured())
        self.assertTrue(all_met, said)
        self.assertIn("No-op filter: 62 ns", said[2])

    def test_each_can_be_missed(self):
        self.assertFalse(report.gates(measured(transom=(9.1, 9.1, 9.1)))[1])
        self.assertFalse(report.gates(measured(noop=(12.0, 12.0, 12.0)))[1])
        slow = measured()
        slow["http1-small", "transom"] = cells([8.0], requests=999.0)
        self.assertFalse(report.gates(slow)[1])
        del slow["http1-small", "transom"]
        self.assertFalse(report.gates(slow)[1])

    def test_each_peer_has_its_gate(self):
        for case, peer, most in report.GATES_TO_PEERS:
            everything = measured()
            everything[case, "transom"] = cells([1.0, 1.0, 1.0], requests=1100.0)
            everything[case, peer] = cells([1.0 / most] * 3)
            if case == "http1-small":
                everything["http1-small-32noop", "transom"] = cells([1.0])
            said, all_met = report.gates(everything)
            self.assertTrue(all_met, said)
            everything[case, peer] = cells([0.99 / most] * 3)
            said, all_met = report.gates(everything)
            self.assertFalse(all_met, said)
            self.assertIn(f"CPU per request, {case}: ", said[-1])

    def test_connections_at_rest_have_a_gate(self):
        at_rest = lambda rss: [Cell(None, None, None, None, rss, 12.0, 0.0, 0.0)] * 3
        for ours, met in ((19.0, True), (19.1, False)):
            said, all_met = report.gates({("idle-10k", "nginx"): at_rest(19.0), ("idle-10k", "transom"): at_rest(ours)})
            self.assertEqual(all_met, met, said)
        self.assertIn("| –", report.table({("idle-10k", "nginx"): at_rest(19.0)}))

    def test_a_disturbed_run_says_so(self):
        self.assertNotIn("NOT QUIET", report.noise(measured()))
        loud = measured()
        loud["http1-small", "nginx"] = [Cell(1000, 1, 1, 9.0, 5.0, 4.0, 0.5, 0.0)] * 3
        self.assertIn("NOT QUIET", report.noise(loud))


class Pages(unittest.TestCase):
    def test_results_replace_what_stood_between_the_marks(self):
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "page.md"
            page.write_text("before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n")
            report.write_markdown(page, "new")
            self.assertEqual(page.read_text(), "before\n<!-- results -->\nnew\n<!-- end of results -->\nafter\n")
            page.write_text("no marks")
            with self.assertRaises(SystemExit):
                report.write_markdown(page, "new")


class Configurations(unittest.TestCase):
    def test_nothing_is_left_to_fill_in(self):
        for peer in [proxies.UPSTREAM, *proxies.PEERS]:
            for case in CASES:
                running = proxies.Running.__new__(proxies.Running)
                running.address = "127.0.0.1:1"
                running.peer = peer
                template = (proxies.FOLDER / peer.config_for(case)).read_text()
                filled = running.filled_in(template, Path("/f"), case, "127.0.0.1:2")
                self.assertNotRegex(filled, r"@[A-Z_]+@", peer.name)
                if peer.name == "transom":
                    self.assertEqual(filled.count("            - {name: noop, id: "), len(case.uses))


class Load(unittest.TestCase):
    def test_a_report_with_errors_or_without_requests_is_none(self):
        good = '{"requests": 5, "microseconds": 7, "p50_us": 1, "p99_us": 2, "errors": 0}'
        self.assertEqual(read_report(0, f"Running\nreport {good}\n")["requests"], 5)
        for status, output in (
            (1, f"report {good}"),
            (0, "Running"),
            (0, "report " + good.replace('"errors": 0', '"errors": 1')),
            (0, "report " + good.replace('"requests": 5', '"requests": 0')),
        ):
            with self.assertRaises(LoadFailed):
                read_report(status, output)


class Layout(unittest.TestCase):
    def test_what_ran_of_the_program_is_found_and_nothing_else(self):
        # Names stand once, behind their number; behind a call comes what the called took.
        dump = """fl=(1) a.rs
ob=(1) /bin/transom
fn=(1) _ZN1a1bE
10 5
cob=(2) /lib/libc.so
cfn=(2) memcpy
calls=1 20
12 7
fn=(3) never
cfn=(4) called'2
calls=1 20
12 7
ob=(2)
fn=(2)
+3 9
ob=(1)
fn=(4)
* 2
fn=(5) (below main)
* 2
ob=(3) ???
fn=(6) laid_out
* 2
"""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "counts.1"
            path.write_text(dump)
            self.assertEqual(symbols.executed(path, Path("/bin/transom")), {"_ZN1a1bE", "called", "laid_out"})

    def test_hashes_versions_and_long_types_are_left_open(self):
        for symbol, pattern in {
            "_ZN4core3ptr5write17h0123456789abcdefE": ".text*._ZN4core3ptr5write17h*E",
            "_RNvNtCsgEmfK2I1SDS_4core3fmt5write": ".text*._RNvNtCs*_4core3fmt5write",
            "aws_lc_0_47_0_EVP_sha256": ".text.aws_lc_*_EVP_sha256",
            "mi_page_extend_free.constprop.0": ".text.mi_page_extend_free.constprop*",
            "_ZN" + "x" * 80: ".text*._ZN" + "x" * (symbols.LONGEST_NAME - 3) + "*",
        }.items():
            self.assertEqual(symbols.pattern(symbol), pattern)

    def test_what_serves_comes_first_and_each_stands_once(self):
        text = symbols.layout({"b", "a"}, {"b", "c"})
        self.assertEqual([line.strip() for line in text.splitlines() if "*(" in line], ["*(.text.a)", "*(.text.b)", "*(.text.c)"])
        self.assertTrue(text.endswith("} INSERT BEFORE .text;\n"))


if __name__ == "__main__":
    unittest.main()
