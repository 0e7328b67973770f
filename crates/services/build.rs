//! Generates the messages of Envoy's services from `sdk/proto`, without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = "../../sdk/proto";
    for part in ["envoy", "google"] {
        println!("cargo:rerun-if-changed={folder}/{part}");
    }
    let files = [
        "envoy/service/ext_proc/v3/external_processor.proto",
        "envoy/service/auth/v3/external_auth.proto",
        "envoy/service/accesslog/v3/als.proto",
    ];
    let set = protox::compile(files, [folder])?;
    prost_build::Config::new()
        // Bodies are handed on as they were received.
        .bytes([".envoy.service.ext_proc.v3"])
        .include_file("proto.rs")
        .compile_fds(set)?;
    Ok(())
}
