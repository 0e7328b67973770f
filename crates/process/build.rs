//! Generates the protocols' messages, clients and servers from `sdk/proto`, without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = "../../sdk/proto";
    println!("cargo:rerun-if-changed={folder}");
    let files = ["mosn/plugin.proto", "transom/plugin/v1/plugin.proto"];
    let set = protox::compile(files, [folder])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .compile_fds(set)?;
    Ok(())
}
