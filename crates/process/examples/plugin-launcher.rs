//! The launcher of programs that use this crate as a library and have none of their own: it sets up a sandbox and becomes the plugin.

fn main() -> std::process::ExitCode {
    transom_process::launch::main()
}
