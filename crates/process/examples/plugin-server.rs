//! A plugin for `plugin-client`: answers `hello` with `world`.

use std::process::ExitCode;

use transom_process::{Request, Response, serve};

fn main() -> ExitCode {
    serve(|request: Request| async move {
        if request.body != b"hello" {
            return Err("request body error");
        }
        Ok(Response {
            body: b"world".to_vec(),
            status: 1,
            ..Response::default()
        })
    })
}
