//! Generates the protocols' messages and services from `sdk/proto`, without `protoc`.

#[cfg(not(feature = "process"))]
fn main() {}

#[cfg(feature = "process")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = "../proto";
    println!("cargo:rerun-if-changed={folder}");
    let files = ["mosn/plugin.proto", "transom/plugin/v1/plugin.proto"];
    let set = protox::compile(files, [folder])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .build_client(false)
        // Names, values and bodies stay slices of the buffer that they came in.
        .bytes(".transom.plugin.v1")
        .compile_fds(set)?;
    Ok(())
}
