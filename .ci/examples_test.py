"""The READMEs' form, and that a README which does not hold is told apart from one that does."""

import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import console

RUNNER = Path(__file__).resolve().parent / "run_examples.py"


def block(*lines, info="console"):
    return "\n".join([f"```{info}", *lines, "```"])


class Form(unittest.TestCase):
    def test_commands_have_their_output(self):
        first, second = console.commands(block("$ echo a", "a", "", "$ echo b \\", "  c", "b c"))
        self.assertEqual((first.text, first.expected), ("echo a", ["a"]))
        self.assertEqual((second.text, second.expected), ("echo b \\\n  c", ["b c"]))

    def test_prose_and_other_languages_are_no_commands(self):
        self.assertEqual(console.commands("text\n$ echo\n" + block("$ a: 1", info="yaml")), [])

    def test_a_fence_in_a_list_loses_its_indent(self):
        self.assertEqual(console.commands("1. do\n   ```console\n   $ ls\n   x\n   ```\n")[0].expected, ["x"])

    def test_servers_say_how_they_show_that_they_are_ready(self):
        (server,) = console.commands(block("$ serve 1 &  # 127.0.0.1:80, [::1]:81 unix:/tmp/a"))
        self.assertTrue(server.background)
        self.assertEqual(server.ready, ["127.0.0.1:80", "[::1]:81", "unix:/tmp/a"])
        self.assertEqual(server.text, "serve 1")
        with self.assertRaises(console.BadReadme):
            console.commands(block("$ serve &"))
        with self.assertRaises(console.BadReadme):
            console.commands(block("$ serve  # 127.0.0.1:80"))

    def test_exit_codes_and_network(self):
        (command,) = console.commands(block("$ false  # exit 1", info="console network"))
        self.assertEqual((command.exit_code, command.text, command.network), (1, "false", True))

    def test_commands_that_nobody_would_run_are_refused(self):
        with self.assertRaises(console.BadReadme):
            console.commands(block("ls", info="sh"))

    def test_needs(self):
        self.assertEqual(console.needs("<!-- needs: go, mvn -->"), ["go", "mvn"])
        self.assertEqual(console.needs("needs nothing"), [])


class Matching(unittest.TestCase):
    def test_wildcards(self):
        self.assertTrue(console.matches(["a", "...", "z"], "a\nb\nc\nz\n"))
        self.assertTrue(console.matches(["a", "...", "z"], "a\nz"))
        self.assertTrue(console.matches(["id: ..."], "id: 17\r\n"))
        self.assertTrue(console.matches(["a", "..."], "a\n"))
        self.assertFalse(console.matches(["a", "...", "z"], "a\nb\n"))
        self.assertFalse(console.matches(["id: ..."], "id: 17\nmore"))
        self.assertFalse(console.matches(["a.b"], "acb"))

    def test_a_server_may_go_on(self):
        self.assertTrue(console.matches(["up"], "up\nmore\n", prefix=True))
        self.assertFalse(console.matches(["up"], "starting\n", prefix=True))


class Running(unittest.TestCase):
    def run_readme(self, *lines):
        with tempfile.NamedTemporaryFile("w", suffix=".md") as readme:
            readme.write(block(*lines))
            readme.flush()
            return subprocess.run([sys.executable, RUNNER, readme.name], capture_output=True, text=True)

    def test_one_shell_per_readme(self):
        done = self.run_readme("$ cd /tmp && export A='b c'", '$ echo "$PWD $A"', "/tmp b c")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("examples: 1 passed, 0 failed, 0 skipped", done.stdout)

    def test_a_server_is_waited_for_used_and_ended(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        done = self.run_readme(
            f"$ python3 -m http.server {port} --bind 127.0.0.1 &  # 127.0.0.1:{port}",
            f"$ exec 3<>/dev/tcp/127.0.0.1/{port} && echo reached",
            "reached",
            # A server's number is known wherever a line kills, and nowhere else.
            "$ echo 10%1; kill -TERM %1",
            "10%1",
            "$ wait %1  # exit 143",
        )
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_what_does_not_hold_fails(self):
        for lines in (
            ["$ echo a", "b"],
            ["$ false"],
            ["$ true  # exit 2"],
            ["$ sh -c 'echo up; sleep 1; exit 3' &", "up", "$ sleep 2"],
            ["$ sh -c 'exit 0' &", "up"],
            ["$ kill %1"],
        ):
            done = self.run_readme(*lines)
            self.assertEqual(done.returncode, 1, f"{lines}: {done.stdout}")


if __name__ == "__main__":
    unittest.main()
