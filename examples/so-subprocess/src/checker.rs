//! The program that is asked: requests must have the header `User: admin`. Any program that was made for MOSN may stand in its place.

use std::process::ExitCode;

use transom_process::call::{Request, Response, ServiceError, serve};

fn main() -> ExitCode {
    serve(|request: Request| async move {
        let mut answer = Response {
            status: -1,
            ..Response::default()
        };
        if request
            .header
            .get("user")
            .is_some_and(|user| user == "admin")
        {
            answer.status = 1;
            let checked = ("x-checked-by".to_owned(), std::process::id().to_string());
            answer.header.extend([checked]);
        }
        Ok::<_, ServiceError>(answer)
    })
}
