"""Each rule is shown a tree that breaks it, and one that does not."""

import importlib.machinery
import importlib.util
import tempfile
import unittest
from pathlib import Path

import named_tests
from rust_source import async_places


def load_rules():
    path = str(Path(__file__).resolve().parent / "rules")
    loader = importlib.machinery.SourceFileLoader("rules", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("rules", loader))
    loader.exec_module(module)
    return module


rules = load_rules()


def package(name, *, uses=(), dev=()):
    dependencies = [{"name": n, "kind": None} for n in uses] + [{"name": n, "kind": "dev"} for n in dev]
    return {"name": name, "manifest_path": f"/r/crates/{name}/Cargo.toml", "dependencies": dependencies}


class Arrows(unittest.TestCase):
    def test_an_arrow_of_the_table_passes(self):
        tree = [package("transom-api"), package("transom-filters", uses=["transom-api", "memchr"])]
        self.assertEqual(rules.arrows(tree), [])

    def test_an_arrow_against_the_table_is_a_fault(self):
        tree = [package("transom-proxy"), package("transom-filters", uses=["transom-proxy"])]
        self.assertEqual(len(rules.arrows(tree)), 1)

    def test_development_may_point_elsewhere_but_not_at_the_program(self):
        tree = [package("transom"), package("transom-proxy"), package("transom-filters", dev=["transom-proxy"])]
        self.assertEqual(rules.arrows(tree), [])
        tree.append(package("transom-admin", dev=["transom"]))
        self.assertEqual(len(rules.arrows(tree)), 1)

    def test_the_interface_has_no_dependency(self):
        self.assertEqual(len(rules.arrows([package("transom-api", uses=["memchr"])])), 1)

    def test_the_codec_has_its_three(self):
        self.assertEqual(rules.arrows([package("transom-http1", uses=["httparse", "memchr", "thiserror"])]), [])
        self.assertEqual(len(rules.arrows([package("transom-http1", uses=["bytes"])])), 1)

    def test_a_crate_that_the_table_does_not_know_is_a_fault(self):
        self.assertEqual(len(rules.arrows([package("transom-utils")])), 1)


class Async(unittest.TestCase):
    def test_code_that_waits_is_found_with_its_line(self):
        self.assertEqual(async_places("fn a() {}\nasync fn b() {\n    c().await\n}\n"), [2, 3])
        self.assertEqual(async_places("fn on_headers() { spawn(async move { 1 }) }"), [1])

    def test_comments_and_literals_do_not_count(self):
        quiet = [
            "// async\n/// await\n/* a /* async */ await */ fn a() {}",
            'const A: &str = "async \\" await"; const B: char = \'"\'; // async',
            'const A: &str = r#"async " await"#; const B: &[u8] = br"async";',
            "fn a<'async_>(x: &'a str) -> &'a str { x }",
        ]
        for source in quiet:
            self.assertEqual(async_places(source), [], source)

    def test_a_literal_hides_nothing_behind_it(self):
        self.assertEqual(async_places("const A: char = '\"';\nasync fn b() {}"), [2])
        self.assertEqual(async_places("const A: &str = r\"\\\";\nasync fn b() {}"), [2])

    def test_prepare_and_tests_may_wait(self):
        self.assertEqual(async_places("fn prepare(&self) -> F { Box::pin(async { self.x.await }) }"), [])
        self.assertEqual(async_places("async fn prepare(a: [u8; 4]) { if b { c.await } }"), [])
        self.assertEqual(async_places("mod tests { async fn b() {} }"), [])
        self.assertEqual(async_places("trait T { fn prepare(&self); fn on_data(&self) { async {} } }"), [1])
        self.assertEqual(async_places("fn prepare() {} fn on_data() { async {} }"), [1])

    def test_a_folder_without_files_is_a_fault(self):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            self.assertEqual(rules.no_async(root), [])
            (root / "crates/proxy/src").mkdir(parents=True)
            self.assertEqual(len(rules.no_async(root)), 1)
            (root / "crates/proxy/src/stream").mkdir()
            (root / "crates/proxy/src/stream/machine.rs").write_text("async fn a() {}")
            self.assertEqual(len(rules.no_async(root)), 1)
            (root / "crates/proxy/src/stream/machine.rs").write_text("fn a() {}")
            self.assertEqual(rules.no_async(root), [])


class NamedTests(unittest.TestCase):
    def tree(self, page: str):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        root = Path(folder.name)
        for name, text in {
            "docs/supervision.md": page,
            "crates/process/tests/it/bad.rs": "async fn one_that_leaks() {}",
            "crates/transom/tests/bad/main.rs": 'rows! {\n    killed: Row { keys: "" },\n}',
            "tests/interop/sdks/run": "",
        }.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root

    def test_functions_rows_modules_and_suites_that_are_there(self):
        page = "`process::bad::one_that_leaks` `process::bad` `transom::bad::killed`\ninterop suite `sdks`, and `other::words`"
        self.assertEqual(rules.named_tests(self.tree(page)), [])

    def test_what_is_not_there_is_a_fault(self):
        page = "`process::bad::one_that`\n`transom::bad::stopped`\n`process::worse`\ninterop suite `none`"
        self.assertEqual(len(rules.named_tests(self.tree(page))), 4)

    def test_each_claim_has_a_line_that_says_something(self):
        claims = {"S0": [(1, 4)], "S2": [(40, 40)]}
        text = "| S0-01 to S0-03, S2-40b | x | y |\n| S0-04 | x | |"
        self.assertEqual(named_tests.missing(text, claims), ["S0-04"])


class Files(unittest.TestCase):
    def test_a_file_is_too_long_from_1501_lines(self):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "a.rs").write_text("\n" * 1500)
            (root / "Cargo.lock").write_text("\n" * 9000)
            self.assertEqual(rules.file_lengths(root, ["a.rs", "Cargo.lock", "gone.rs"]), [])
            (root / "a.rs").write_text("\n" * 1501)
            self.assertEqual(len(rules.file_lengths(root, ["a.rs"])), 1)

    def test_versions_and_reasons_have_one_place(self):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "docs").mkdir()
            (root / "docs/dependencies.md").write_text("| `memchr` | why |\n")
            (root / "Cargo.toml").write_text(
                '[workspace.dependencies]\nmemchr = "2"\nbytes = "1"\nours = { path = "crates/ours" }\n'
            )
            crate = root / "crates/ours/Cargo.toml"
            crate.parent.mkdir(parents=True)
            crate.write_text('[dependencies]\nmemchr.workspace = true\n[dev-dependencies]\nbytes = "1"\n')
            faults = rules.declared_once(root, [{"manifest_path": str(crate.resolve())}])
            self.assertEqual(len(faults), 2)
            self.assertIn("bytes has no line", faults[0])
            self.assertIn("bytes.workspace = true", faults[1])


if __name__ == "__main__":
    unittest.main()
